{
  "targets": [
    {
      "target_name": "sealwax",
      "sources": [
        "binding.cc",
        "cpus.cc",
        "digest.cc",
        "ecdsa.cc",
        "frames.cc",
        "gcm.cc",
        "hkdf.cc",
        "memory.cc",
        "message.cc",
        "pool.cc",
        "random.cc",
        "segments.cc",
        "thread.cc"
      ],
      # OpenSSL is the running Node's own: its headers lie beside Node's, its symbols are Node's. Nothing is linked.
      "defines": ["NAPI_VERSION=8"],
      "cflags": ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"],
      "cflags!": ["-Wno-unused-parameter"],
      "cflags_cc": ["-std=c++17", "-fexceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "conditions": [
        [
          "OS=='linux'",
          {
            # Nothing of OpenSSL or the C++ library may be taken from here by others.
            "ldflags": [
              "-Wl,-z,nodelete",
              "-Wl,-z,now",
              "-Wl,-z,relro",
              "-Wl,--version-script=<(module_root_dir)/exports.map"
            ]
          }
        ],
        [
          "OS=='mac'",
          {
            "xcode_settings": {
              "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
              "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
              "GCC_OPTIMIZATION_LEVEL": "3",
              "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
              "MACOSX_DEPLOYMENT_TARGET": "11.0",
              "OTHER_CFLAGS": ["-Wall", "-Wextra", "-Werror"]
            }
          }
        ],
        [
          "OS=='win'",
          {
            "libraries": ["bcrypt.lib"],
            "msvs_settings": {
              "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++17", "/W3", "/WX"] }
            }
          }
        ]
      ]
    }
  ]
}
