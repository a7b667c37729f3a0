-- Health of an SdxlJob for Argo CD: docs/gitops.md has the table. argocd-cm.yaml is made from this by `npm run generate`.
-- Argo CD runs it without Lua's libraries but for tables.
local function answer(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
local function holds(type)
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == type and condition.status == "True" then
      return condition
    end
  end
  return nil
end

local function told(condition, otherwise)
  if condition.message ~= nil and condition.message ~= "" then
    return condition.message
  end
  return condition.reason or otherwise
end

-- A status that speaks of an older object says nothing of this one.
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "The operator has not seen this version yet")
end

local failed = holds("Failed") or holds("Stalled")
if failed then
  return answer("Degraded", told(failed, "Failed"))
end
local complete = holds("Complete")
if complete then
  return answer("Healthy", told(complete, "Complete"))
end
local suspended = holds("Suspended")
if suspended then
  return answer("Suspended", told(suspended, "Suspended"))
end

local restarting = holds("Restarting")
if restarting then
  return answer("Progressing", told(restarting, "Restarting"))
end
local progress = status.progress or {}
if holds("GangReady") then
  if progress.done ~= nil then
    return answer("Progressing", progress.done .. " of the steps are done")
  end
  return answer("Progressing", "Every pod runs")
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "GangReady" then
    return answer("Progressing", told(condition, "The gang is not ready"))
  end
end
return answer("Progressing", "The gang is not ready")
