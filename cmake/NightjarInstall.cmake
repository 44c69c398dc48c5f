# SPDX-License-Identifier: Apache-2.0
# Everything goes where a distribution's package would put it; DESTDIR and the prefix are obeyed.

# With the prefix /usr the configuration belongs in /etc and not in /usr/etc; GNUInstallDirs
# knows that rule and gives the full path.
set(NIGHTJAR_CONF_DIR ${CMAKE_INSTALL_FULL_SYSCONFDIR}/nightjar)

if(TARGET nightjar)
	install(TARGETS nightjar RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
endif()
if(TARGET nightjar-passwd)
	install(TARGETS nightjar-passwd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

foreach(section 1 5 8)
	file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.${section})
	install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/conf/*.example)
install(FILES ${examples} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES README.md LICENSE SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

# An administrator's configuration is never overwritten.
if(EXISTS ${CMAKE_SOURCE_DIR}/conf/nightjar.conf)
	install(CODE "
		set(conf \"\$ENV{DESTDIR}${NIGHTJAR_CONF_DIR}/nightjar.conf\")
		if(EXISTS \"\${conf}\")
			message(STATUS \"Kept: \${conf}\")
		else()
			file(INSTALL \"${CMAKE_SOURCE_DIR}/conf/nightjar.conf\"
				DESTINATION \"\$ENV{DESTDIR}${NIGHTJAR_CONF_DIR}\")
		endif()")
endif()

# The unit names the paths of this prefix.
if(EXISTS ${CMAKE_SOURCE_DIR}/packaging/nightjar.service.in)
	configure_file(packaging/nightjar.service.in ${CMAKE_BINARY_DIR}/nightjar.service @ONLY)
	install(FILES ${CMAKE_BINARY_DIR}/nightjar.service DESTINATION lib/systemd/system)
	install(FILES packaging/nightjar.sysusers DESTINATION lib/sysusers.d RENAME nightjar.conf)
endif()
