-- What a password opens at this Orthanc, which has checked it already. "Organloop" in its configuration says
-- who the worker is and under which names Orthanc is asked. Source: Orthanc Book, IncomingHttpRequestFilter.
local configuration = GetOrthancConfiguration()
local users = configuration.RegisteredUsers or {}
local doors = configuration.Organloop

local names = {}
for _, name in pairs(doors.Names) do
  names[name] = true
end

-- A variable that is not set makes an account without a name or a password: it opens nothing.
local function is_known(user)
  return user ~= '' and (users[user] or '') ~= ''
end

-- A page from elsewhere that gives this machine a name of its own, or asks across origins, gets nothing.
local function is_ours(headers)
  local host = headers['host'] or ''
  local origin = headers['origin']
  local known = names[host:gsub(':%d+$', '')]
  return known and (origin == nil or origin == 'http://' .. host)
end

-- Searched, read and stored by DICOMweb; nothing is administrated, and no other server is asked.
local function is_reading(method, uri)
  local level = (uri .. '/'):match('^/dicom%-web/(%a+)/')
  return (method == 'GET' or method == 'POST') and (level == 'studies' or level == 'series' or level == 'instances')
end

function IncomingHttpRequestFilter(method, uri, ip, username, headers)
  if not is_known(username) or not is_ours(headers) then
    return false
  end
  if headers['content-encoding'] ~= nil then
    return false -- a body of 3 MB would be 3 GB in memory at once
  end
  return username == doors.Worker or is_reading(method, uri)
end
