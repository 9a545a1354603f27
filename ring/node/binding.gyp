{
  "targets": [
    {
      "target_name": "mpipe_ring",
      "sources": ["addon.c"],
      "include_dirs": [".", "../c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    }
  ]
}
