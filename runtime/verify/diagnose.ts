/** What usually makes the first stage differ, from how it differs. Guesses, in the order of their likelihood. */
import { firstDifference, type StageComparison } from './compare.js';

/** Differences this small are what 16-bit floats do. */
const halfPrecisionDecibels = 35;

export function diagnose(stages: readonly StageComparison[]): string[] {
  const first = firstDifference(stages);
  if (first === undefined) return [];
  const { stage, ours, theirs, decibels, finite, cosine, factor } = first;
  if (Number.isNaN(decibels) && finite)
    return [`its shape is [${theirs.join(', ')}], ours [${ours.join(', ')}]: compare the same size, batch and model`];
  if (!finite) return ['the reference is not finite: its VAE overflowed in fp16; decode in fp32 (force_upcast) or use a VAE made for fp16'];
  const slight = decibels >= halfPrecisionDecibels;
  const dtype = 'the reference was computed in fp16 or bf16: compare with torch_dtype=torch.float32';
  if (stage === 'prompt_embeds' || stage === 'pooled_prompt_embeds') {
    if (slight) return [dtype];
    return [
      'the prompts differ: check text, negative prompt, prompt_2 and clip_skip',
      'the tokenizers or text encoders differ: check the model, its revision, and adapters that change text encoders',
    ];
  }
  if (stage === 'initial_latents') {
    if (Math.abs(cosine) < 0.5)
      return [
        'the noise differs: check the seed, and that the reference drew it on the CPU, torch.Generator("cpu").manual_seed(seed); a CUDA generator draws other numbers',
        'several images of one generator share one stream: give each its own, seeded with seed + i',
      ];
    if (cosine > 0.999)
      return [
        `the noise is the same up to a factor of ${factor.toFixed(4)}: record latents after they are scaled by init_noise_sigma, and compare the schedulers' timestep_spacing`,
      ];
  }
  const scheduler =
    'the schedulers differ: compare class and every field of scheduler_config.json (timestep_spacing, prediction_type, Karras sigmas), and the number of steps';
  if (stage.startsWith('latents.')) {
    const step = Number(stage.slice('latents.'.length));
    if (slight && step > 0) return [dtype, 'small differences grow from step to step: adapters or guidance that differ a little'];
    return [
      scheduler,
      'the UNets or guidance differ: check guidance_scale, guidance_rescale, the model, its adapters and micro-conditioning',
      ...(slight ? [dtype] : []),
    ];
  }
  const compared = stages.some((other) => other.stage.startsWith('latents') && other !== first);
  if (stage === 'image' && compared)
    return [
      'only the VAE differs: check that the reference decodes in fp32 (vae.config.force_upcast), and that both use the same VAE and scaling_factor',
      ...(slight ? [dtype] : []),
    ];
  if (slight)
    return [
      dtype,
      'the reference decodes with the VAE in fp16: check force_upcast',
      'another attention kernel or version of the reference',
    ];
  if (stage === 'image' && cosine < 0.9)
    return [
      'the noise differs: check the seed, and that the reference drew it on the CPU, torch.Generator("cpu").manual_seed(seed)',
      scheduler,
      'give initial_latents and latents.0 … of the reference to see where they part',
    ];
  return [
    scheduler,
    'prompt, guidance, adapters or the model differ',
    'the noise differs: check the seed and the generator’s device',
    'give prompt_embeds, initial_latents and latents.0 … of the reference to see where they part',
  ];
}
