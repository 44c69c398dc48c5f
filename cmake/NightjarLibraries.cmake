# SPDX-License-Identifier: Apache-2.0
# The libraries that we build on, all of them Debian packages, and which folder uses which.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(URCU REQUIRED IMPORTED_TARGET liburcu-memb liburcu-cds)
pkg_check_modules(LWS REQUIRED IMPORTED_TARGET libwebsockets>=4.1)
pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)
pkg_check_modules(ARGON2 REQUIRED IMPORTED_TARGET libargon2)

# Header-only libraries have no .pc file, so a missing package is named here.
function(nightjar_require_header header package)
	string(MAKE_C_IDENTIFIER "NIGHTJAR_HAVE_${header}" found)
	find_path(${found} ${header})
	if(NOT ${found})
		message(FATAL_ERROR "${header} is missing: install ${package} (./dev install-deps)")
	endif()
	mark_as_advanced(${found})
endfunction()
nightjar_require_header(uthash.h uthash-dev)
nightjar_require_header(xxhash.h libxxhash-dev)
nightjar_require_header(lmdb.h liblmdb-dev)

set(NIGHTJAR_USES_base Threads::Threads PkgConfig::URCU PkgConfig::CJSON)
set(NIGHTJAR_USES_runtime PkgConfig::UV)
set(NIGHTJAR_USES_net OpenSSL::SSL PkgConfig::LWS)
set(NIGHTJAR_USES_store lmdb)
set(NIGHTJAR_USES_auth OpenSSL::Crypto PkgConfig::ARGON2)
set(NIGHTJAR_USES_http nj_console)
set(NIGHTJAR_USES_server m)
