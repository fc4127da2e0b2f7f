-- Scripts that run within Redis, which hands in KEYS, ARGV and itself.
std = "lua51"
max_line_length = 100
read_globals = {"redis", "KEYS", "ARGV"}

-- The prelude is put before every other script of its folder, which see its locals.
files["worker/src/image_worker/lua"] = {
  read_globals = {"key", "now_ms", "count", "pod_of", "open", "seal", "why", "bury", "crashed",
                  "empty_landing", "ack"},
}
files["**/prelude.lua"] = {unused = false}
