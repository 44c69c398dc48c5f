# SPDX-License-Identifier: Apache-2.0
# Cross-compiling on Debian, with the libraries of both architectures side by side (multiarch):
# ./dev build --arch arm64 sets such a system up.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(NIGHTJAR_DEBIAN_ARCHITECTURE arm64)
set(CMAKE_STRIP aarch64-linux-gnu-strip)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
