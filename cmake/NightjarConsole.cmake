# SPDX-License-Identifier: Apache-2.0
# The console (clients/console) becomes a C file with its assets, and that the library nj_console.

find_program(NIGHTJAR_NODE NAMES node nodejs)
find_program(NIGHTJAR_NPM npm)
mark_as_advanced(NIGHTJAR_NODE NIGHTJAR_NPM)

set(NIGHTJAR_CONSOLE_DEFAULT OFF)
if(NIGHTJAR_NODE AND NIGHTJAR_NPM)
	set(NIGHTJAR_CONSOLE_DEFAULT ON)
endif()
option(NIGHTJAR_CONSOLE "Build the console into the broker (needs node and npm)"
	${NIGHTJAR_CONSOLE_DEFAULT})

if(NIGHTJAR_CONSOLE AND NOT (NIGHTJAR_NODE AND NIGHTJAR_NPM))
	message(FATAL_ERROR "The console is built with node and npm, which are missing: install the "
		"packages nodejs and npm, or build a broker without its page with -DNIGHTJAR_CONSOLE=OFF.")
endif()

function(nightjar_console)
	if(NOT NIGHTJAR_CONSOLE)
		add_library(nj_console STATIC ${CMAKE_SOURCE_DIR}/cmake/console_none.c)
		target_include_directories(nj_console PRIVATE ${CMAKE_SOURCE_DIR}/broker)
		return()
	endif()
	set(source ${CMAKE_SOURCE_DIR}/clients/console)
	set(table ${CMAKE_BINARY_DIR}/generated/console_assets.c)
	file(GLOB_RECURSE files CONFIGURE_DEPENDS ${source}/src/*)
	add_custom_command(OUTPUT ${table}
		COMMAND ${NIGHTJAR_NODE} ${source}/build.mjs --npm ${NIGHTJAR_NPM}
			--out ${CMAKE_BINARY_DIR}/console --c ${table}
		DEPENDS ${files} ${source}/build.mjs ${source}/package.json ${source}/package-lock.json
		COMMENT "Packing the console" VERBATIM)
	add_library(nj_console STATIC ${table})
	target_include_directories(nj_console PRIVATE ${CMAKE_SOURCE_DIR}/broker)
endfunction()
