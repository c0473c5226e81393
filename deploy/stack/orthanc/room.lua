-- An Orthanc before 1.11.3 knows no MaximumStorageMode: full, it deletes the oldest studies. Told how much it may
-- keep, it does not start. Source: NEWS of Orthanc 1.11.3.
local limit = GetOrthancConfiguration().MaximumStorageSize or 0

function Initialize()
  local version = ParseJson(RestApiGet('/system', true)).Version
  local major, minor, patch = version:match('^(%d+)%.(%d+)%.(%d+)')
  local number = tonumber(major or 99) * 1000000 + tonumber(minor or 0) * 1000 + tonumber(patch or 0)
  if limit > 0 and number < 1011003 then
    print('Orthanc ' .. version .. ' would delete studies at MaximumStorageSize: it needs to be 1.11.3 or later')
    os.exit(1)
  end
end
