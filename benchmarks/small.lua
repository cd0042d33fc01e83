-- wrk: small requests as Docker's daemon sends them. KIND is "tags" for a random tag of TAGS in
-- REPOSITORY; anything else asks for TARGET. AUTHORIZATION is sent if it is set.
local kind = os.getenv("KIND")
local target = os.getenv("TARGET")
local repository = os.getenv("REPOSITORY")
local tags = tonumber(os.getenv("TAGS") or "1")
local authorization = os.getenv("AUTHORIZATION")

local accept = ""
for _, type in ipairs({
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
}) do
  accept = accept .. "Accept: " .. type .. "\r\n"
end

local function head(path)
  local lines = "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
    .. "User-Agent: docker/24.0.7 go/go1.20.10 kernel/6.1 os/linux arch/amd64\r\n"
    .. accept .. "Accept-Encoding: gzip\r\n"
  if authorization and authorization ~= "" then
    lines = lines .. "Authorization: " .. authorization .. "\r\n"
  end
  return lines .. "\r\n"
end

function init()
  math.randomseed(1)
  if kind == "tags" then
    requests = {}
    for number = 0, tags - 1 do
      local tag = string.format("1.%d.%d-build", math.floor(number / 100), number % 100)
      requests[number + 1] = head("/v2/" .. repository .. "/manifests/" .. tag)
    end
  else
    requests = { head(target) }
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local bad = summary.errors
  io.write(string.format("RESULT %d %f %d\n", summary.requests, summary.duration / 1e6,
    bad.connect + bad.read + bad.write + bad.timeout + bad.status))
end
