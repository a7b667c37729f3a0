"""Training steps as CUDA graphs: forward and backward are recorded once per shape and replayed.

Networks this small leave a GPU waiting for the CPU's launches otherwise. Whatever the recorded function draws at random it
draws anew on every replay; its inputs have to be tensors that stay where they are. Without CUDA the function simply runs.
"""

from collections.abc import Callable

import torch


class Step:
    """`function()` returns tensors, the first of them the loss; calling the step leaves gradients on `parameters`."""

    def __init__(self, function: Callable[[], tuple[torch.Tensor, ...]], parameters: list[torch.nn.Parameter]):
        self.function, self.parameters, self.graph = function, parameters, None
        if parameters[0].device.type != "cuda":
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # kernels are compiled and chosen here, outside the recording
                self._run()
        torch.cuda.current_stream().wait_stream(stream)
        self._clear()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.values = self.function()
            self.values[0].backward()
        self.values = tuple(value.detach() for value in self.values)
        self.gradients = [parameter.grad for parameter in parameters]

    def _clear(self):
        for parameter in self.parameters:
            parameter.grad = None

    def _run(self):
        self._clear()
        values = self.function()
        values[0].backward()
        return tuple(value.detach() for value in values)

    def __call__(self) -> tuple[torch.Tensor, ...]:
        if self.graph is None:
            return self._run()
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients):
            parameter.grad = gradient
        return self.values
