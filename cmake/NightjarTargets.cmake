# SPDX-License-Identifier: Apache-2.0
# Libraries, programs and tests are found by where their files lie: adding a file needs no edit.

# The libraries of folder and of those before it, as far as they exist.
function(nightjar_libraries_up_to folder out)
	set(libraries "")
	foreach(name IN LISTS NIGHTJAR_FOLDERS)
		if(TARGET nj_${name})
			list(PREPEND libraries nj_${name})
		endif()
		if(name STREQUAL folder)
			break()
		endif()
	endforeach()
	set(${out} ${libraries} PARENT_SCOPE)
endfunction()

# broker/<folder>/*.c is the static library nj_<folder>.
function(nightjar_library folder)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/broker/${folder}/*.c)
	list(FILTER sources EXCLUDE REGEX "/server/main\\.c$")
	if(NOT sources)
		return()
	endif()
	nightjar_libraries_up_to(${folder} below)
	add_library(nj_${folder} STATIC ${sources})
	target_include_directories(nj_${folder} PUBLIC
		${CMAKE_SOURCE_DIR}/broker ${CMAKE_BINARY_DIR}/generated)
	target_link_libraries(nj_${folder} PUBLIC ${below} ${NIGHTJAR_USES_${folder}})
endfunction()

# broker/server/main.c is the broker.
function(nightjar_broker)
	file(GLOB main CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/broker/server/main.c)
	if(NOT main)
		return()
	endif()
	nightjar_libraries_up_to(server libraries)
	add_executable(nightjar ${main})
	target_link_libraries(nightjar PRIVATE ${libraries})
	target_link_options(nightjar PRIVATE ${NIGHTJAR_LTO_LINK})
endfunction()

# tests/sharing/probe*.c notes what the broker's threads share.
function(nightjar_sharing_probe)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sharing/probe*.c)
	target_sources(nightjar PRIVATE ${sources})
	target_include_directories(nightjar PRIVATE ${CMAKE_SOURCE_DIR}/tests)
	# It cannot call itself for its own accesses, and its loops must not become calls of memset().
	set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS
		"-fno-sanitize=thread;-fno-tree-loop-distribute-patterns")
	foreach(function memcpy memmove memset memcmp recv send eventfd_write block_alloc)
		target_link_options(nightjar PRIVATE -Wl,--wrap=${function})
	endforeach()
	target_link_libraries(nightjar PRIVATE ${CMAKE_DL_LIBS})
endfunction()

# The broker with an authenticator behind its hooks, for tests; stands beside it, is not installed.
function(nightjar_test_broker)
	nightjar_libraries_up_to(server libraries)
	add_executable(nightjar-test-auth ${CMAKE_SOURCE_DIR}/tests/support/test_auth.c)
	target_link_libraries(nightjar-test-auth PRIVATE ${libraries})
	target_link_options(nightjar-test-auth PRIVATE ${NIGHTJAR_LTO_LINK})
endfunction()

# clients/<name>/*.c is the program <name>, which may use folder and those below.
function(nightjar_client name folder)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/clients/${name}/*.c)
	if(NOT sources)
		return()
	endif()
	nightjar_libraries_up_to(${folder} libraries)
	add_executable(${name} ${sources})
	target_link_libraries(${name} PRIVATE ${libraries} ${ARGN})
	target_link_options(${name} PRIVATE ${NIGHTJAR_LTO_LINK})
endfunction()

# Reports stop the program; suppressions name single functions of libraries only.
set(NIGHTJAR_SANITIZER_ENVIRONMENT
	"ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1"
	"LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/sanitizers/lsan.supp:print_suppressions=0"
	"UBSAN_OPTIONS=print_stacktrace=1"
	"TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/sanitizers/tsan.supp:halt_on_error=1:second_deadlock_stack=1")

function(nightjar_test_program target label)
	set_target_properties(${target} PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/${label})
	target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
	target_link_options(${target} PRIVATE -fno-lto)
endfunction()

function(nightjar_test_properties name label)
	set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 120
		ENVIRONMENT "${NIGHTJAR_SANITIZER_ENVIRONMENT}")
endfunction()

# tests/unit/<folder>/test_<module>.c, each a program of its own that links folder and those below.
function(nightjar_unit_tests folder)
	file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${folder}/test_*.c)
	if(NOT tests)
		return()
	endif()
	pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
	nightjar_libraries_up_to(${folder} libraries)
	foreach(source IN LISTS tests)
		get_filename_component(module ${source} NAME_WE)
		string(REGEX REPLACE "^test_" "" module ${module})
		set(target unit_${folder}_${module})
		add_executable(${target} ${source})
		target_link_libraries(${target} PRIVATE ${libraries} PkgConfig::CMOCKA)
		nightjar_test_program(${target} unit)
		add_test(NAME unit/${folder}/${module} COMMAND ${target})
		nightjar_test_properties(unit/${folder}/${module} unit)
	endforeach()
endfunction()

# tests/unit/clients/test_<module>.c with further sources of clients/: parts of those programs.
function(nightjar_client_unit_test module)
	pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
	set(target unit_clients_${module})
	list(TRANSFORM ARGN PREPEND ${CMAKE_SOURCE_DIR}/clients/ OUTPUT_VARIABLE sources)
	add_executable(${target} ${CMAKE_SOURCE_DIR}/tests/unit/clients/test_${module}.c ${sources})
	target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/clients)
	target_link_libraries(${target} PRIVATE PkgConfig::CMOCKA)
	nightjar_test_program(${target} unit)
	add_test(NAME unit/clients/${module} COMMAND ${target})
	nightjar_test_properties(unit/clients/${module} unit)
endfunction()

# tests/fuzz/fuzz_<name>.c, with its inputs in tests/fuzz/corpus/<name>/. The corpus runs as a test
# in every build; NIGHTJAR_FUZZ adds the program that looks for new inputs.
function(nightjar_fuzz_targets)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
	nightjar_libraries_up_to(server libraries)
	add_custom_target(fuzzers)
	foreach(source IN LISTS sources)
		get_filename_component(name ${source} NAME_WE)
		string(REGEX REPLACE "^fuzz_" "" name ${name})
		add_executable(corpus_${name} ${source} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus_main.c)
		target_link_libraries(corpus_${name} PRIVATE ${libraries})
		nightjar_test_program(corpus_${name} fuzz)
		add_test(NAME fuzz/${name}
			COMMAND corpus_${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
		nightjar_test_properties(fuzz/${name} fuzz)
		if(NIGHTJAR_FUZZ)
			add_executable(fuzz_${name} ${source})
			target_link_libraries(fuzz_${name} PRIVATE ${libraries})
			target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
			target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
			add_dependencies(fuzzers fuzz_${name})
		endif()
	endforeach()
endfunction()

# Programs that put load on a running broker, or talk to it with other people's clients. They share
# no code with the broker, except bench_*.c, which time parts of it; sanitizers look at the broker, not
# at these and at the libraries that they use.
#   tests/stress/{wire,crowd}.c   a small client, and many of them, for the others
#   tests/{stress,bench}/*.c      one program each
#   tests/integration/lib_*.c     one program each, with libmosquitto
function(nightjar_load_programs)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/stress/*.c
		${CMAKE_SOURCE_DIR}/tests/bench/*.c ${CMAKE_SOURCE_DIR}/tests/integration/lib_*.c)
	list(FILTER sources EXCLUDE REGEX "/stress/(wire|crowd)\\.c$")
	if(NOT sources)
		return()
	endif()
	pkg_check_modules(MOSQUITTO REQUIRED IMPORTED_TARGET libmosquitto)
	add_library(nj_test_wire STATIC ${CMAKE_SOURCE_DIR}/tests/stress/wire.c
		${CMAKE_SOURCE_DIR}/tests/stress/crowd.c)
	target_include_directories(nj_test_wire PUBLIC ${CMAKE_SOURCE_DIR}/tests)
	target_compile_options(nj_test_wire PRIVATE -fno-sanitize=all)
	nightjar_libraries_up_to(server libraries)
	foreach(source IN LISTS sources)
		get_filename_component(target ${source} NAME_WE)
		get_filename_component(folder ${source} DIRECTORY)
		get_filename_component(folder ${folder} NAME)
		add_executable(${target} ${source})
		nightjar_test_program(${target} ${folder})
		if(target MATCHES "^bench_")
			target_link_libraries(${target} PRIVATE ${libraries})
			if(target STREQUAL "bench_sessions")
				add_test(NAME bench/sessions COMMAND ${target} 3000 2)
				nightjar_test_properties(bench/sessions unit)
			endif()
			continue()
		endif()
		target_compile_options(${target} PRIVATE -fno-sanitize=all)
		target_link_options(${target} PRIVATE -fno-sanitize=all)
		if(folder STREQUAL "integration")
			target_link_libraries(${target} PRIVATE PkgConfig::MOSQUITTO Threads::Threads)
		else()
			target_link_libraries(${target} PRIVATE nj_test_wire)
		endif()
	endforeach()
endfunction()

# tests/durability/storage_shim.c is loaded before the C library by brokers whose disk shall fail.
function(nightjar_storage_shim)
	add_library(storage_shim SHARED ${CMAKE_SOURCE_DIR}/tests/durability/storage_shim.c)
	set_target_properties(storage_shim PROPERTIES PREFIX ""
		LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/durability)
	target_include_directories(storage_shim PRIVATE ${CMAKE_SOURCE_DIR}/tests)
	# Fortified headers would replace the functions that it defines.
	target_compile_options(storage_shim PRIVATE -fPIC -fno-sanitize=all -fno-lto -U_FORTIFY_SOURCE)
	target_link_options(storage_shim PRIVATE -fno-sanitize=all -fno-lto)
	target_link_libraries(storage_shim PRIVATE ${CMAKE_DL_LIBS} Threads::Threads)
endfunction()
