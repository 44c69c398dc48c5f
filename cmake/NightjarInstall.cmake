# SPDX-License-Identifier: Apache-2.0
# Everything goes where a distribution's package would put it; DESTDIR and the prefix are obeyed.

if(TARGET nightjar)
	install(TARGETS nightjar RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
endif()
foreach(client nightjar-passwd nightjar-ctl nightjar-store nightjar-bench)
	if(TARGET ${client})
		install(TARGETS ${client} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
	endif()
endforeach()

foreach(section 1 5 8)
	file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.${section})
	install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/conf/examples/*)
install(FILES ${examples} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES README.md LICENSE SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

# What depends on the prefix is decided when installing, because `cmake --install --prefix` may give
# another one than was configured. With /usr the configuration belongs in /etc. An administrator's
# configuration is never overwritten.
install(CODE "set(source \"${CMAKE_SOURCE_DIR}\")
set(work \"${CMAKE_BINARY_DIR}/install\")
set(sysconfdir \"${CMAKE_INSTALL_SYSCONFDIR}\")
set(sbindir \"${CMAKE_INSTALL_SBINDIR}\")")
install(SCRIPT ${CMAKE_SOURCE_DIR}/cmake/InstallForPrefix.cmake)
install(FILES packaging/nightjar.sysusers DESTINATION lib/sysusers.d RENAME nightjar.conf)
install(FILES packaging/nightjar-ctl.bash-completion
	DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME nightjar-ctl)
