# SPDX-License-Identifier: Apache-2.0
# How everything is compiled. The presets choose between the build types and options below.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()
# Frame pointers stay in the release build: a profile of a running broker should be readable.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g -fno-omit-frame-pointer")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")

# gcc clears structs of 64 bytes and more with "rep stos", whose start alone takes as long as all of
# the rest of a message's way through a function (measured: 40 % of message_create()).
include(CheckCCompilerFlag)
set(NIGHTJAR_CLEAR_BY_LOOP -mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign)
check_c_compiler_flag(${NIGHTJAR_CLEAR_BY_LOOP} NIGHTJAR_HAVE_MEMSET_STRATEGY)
if(NIGHTJAR_HAVE_MEMSET_STRATEGY)
	add_compile_options(${NIGHTJAR_CLEAR_BY_LOOP})
endif()

add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla)
if(NIGHTJAR_WERROR)
	add_compile_options(-Werror)
endif()

# liburcu's small functions come inline through URCU_INLINE_SMALL_FUNCTIONS, which its licence
# leaves free; _LGPL_SOURCE would put LGPL code into our programs and blinds ThreadSanitizer.
add_compile_definitions(_GNU_SOURCE URCU_INLINE_SMALL_FUNCTIONS)
if(NIGHTJAR_DEBUG)
	add_compile_definitions(NIGHTJAR_DEBUG)
endif()

# Not CMAKE_POSITION_INDEPENDENT_CODE: it gives static libraries -fPIC, under which any function
# might be replaced at run time, so that the compiler inlines less.
add_compile_options(-fPIE)
add_link_options(-pie)

if(NIGHTJAR_SANITIZE)
	add_compile_options(-fsanitize=${NIGHTJAR_SANITIZE})
	add_link_options(-fsanitize=${NIGHTJAR_SANITIZE})
	# Instrumented code confuses gcc's flow analysis; the other builds keep this warning.
	if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
		add_compile_options(-Wno-maybe-uninitialized)
	endif()
	if(NIGHTJAR_SANITIZE MATCHES "undefined")
		add_compile_options(-fno-sanitize-recover=undefined)
	endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT NIGHTJAR_SHARING)
	add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
	add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()

# Otherwise the code of a release. Each access to memory calls a function of tests/sharing instead of
# libtsan's; copies stay calls that the linker can send there, liburcu's queues come inline to be
# instrumented, with atomics that the compiler sees. This broker is for counting and goes nowhere.
if(NIGHTJAR_SHARING)
	if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
		message(FATAL_ERROR "NIGHTJAR_SHARING needs gcc: use the preset 'sharing' with a new build folder.")
	endif()
	add_compile_options(-fsanitize=thread -U__SANITIZE_THREAD__ -Wno-maybe-uninitialized
		--param=tsan-instrument-func-entry-exit=0
		-fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset -fno-builtin-memcmp)
	add_compile_definitions(_LGPL_SOURCE)
	include_directories(BEFORE ${CMAKE_SOURCE_DIR}/tests/sharing/shadow)
endif()

if(NIGHTJAR_FUZZ)
	if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
		message(FATAL_ERROR "NIGHTJAR_FUZZ needs clang: use the preset 'fuzz', or "
			"CC=clang with a new build folder.")
	endif()
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Fat objects hold machine code beside the intermediate form: the programs are optimised across
# files, and the many small test programs still link in no time.
set(NIGHTJAR_LTO_LINK "")
if(NIGHTJAR_LTO AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT NIGHTJAR_SANITIZE)
	add_compile_options(-flto=auto -ffat-lto-objects)
	set(CMAKE_AR ${CMAKE_C_COMPILER_AR})
	set(CMAKE_RANLIB ${CMAKE_C_COMPILER_RANLIB})
	set(NIGHTJAR_LTO_LINK -flto=auto -fuse-linker-plugin)
endif()
