# SPDX-License-Identifier: Apache-2.0
# Runs when installing: the configuration and the systemd unit, whose paths follow from the prefix.
# NightjarInstall.cmake sets source, work, sysconfdir and sbindir.

set(prefix "${CMAKE_INSTALL_PREFIX}")
if(IS_ABSOLUTE "${sysconfdir}")
	set(NIGHTJAR_CONF_DIR "${sysconfdir}/nightjar")
elseif(prefix STREQUAL "/usr" OR prefix STREQUAL "/")
	set(NIGHTJAR_CONF_DIR "/etc/nightjar")
else()
	set(NIGHTJAR_CONF_DIR "${prefix}/${sysconfdir}/nightjar")
endif()
set(NIGHTJAR_SBIN_DIR "${prefix}/${sbindir}")

set(conf "$ENV{DESTDIR}${NIGHTJAR_CONF_DIR}/nightjar.conf")
if(EXISTS "${conf}")
	message(STATUS "Kept: ${conf}")
elseif(EXISTS "${source}/conf/nightjar.conf")
	file(INSTALL "${source}/conf/nightjar.conf" DESTINATION "${NIGHTJAR_CONF_DIR}")
endif()

configure_file("${source}/packaging/nightjar.service.in" "${work}/nightjar.service" @ONLY)
file(INSTALL "${work}/nightjar.service" DESTINATION "${prefix}/lib/systemd/system")
