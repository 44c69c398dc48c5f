# SPDX-License-Identifier: Apache-2.0
# `cpack -G DEB` in the build folder makes the package; ./dev package does so and tries it.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME nightjar)
set(CPACK_PACKAGE_VENDOR "Nightjar maintainers")
set(CPACK_PACKAGE_CONTACT "Nightjar maintainers <maintainers@nightjar.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "MQTT broker for versions 3.1, 3.1.1 and 5")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Nightjar is an MQTT broker: one process, one configuration file, all processors
of a machine. It reads the configuration, password and ACL files of mosquitto.")
set(CPACK_PACKAGE_CHECKSUM SHA256)

# Paths as in the running system: configuration lies in /etc although the prefix is /usr.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
if(CMAKE_CROSSCOMPILING)
	set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${NIGHTJAR_DEBIAN_ARCHITECTURE})
endif()
# What the programs link with is found by dpkg-shlibdeps. A library's plugin that is loaded at run time
# it cannot see: libwebsockets finds its loop for libuv that way.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser")
if(LWS_FOUND)
	string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ", libwebsockets-evlib-uv")
endif()
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "mosquitto-clients")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
	${CMAKE_SOURCE_DIR}/packaging/debian/conffiles
	${CMAKE_SOURCE_DIR}/packaging/debian/postinst
	${CMAKE_SOURCE_DIR}/packaging/debian/prerm
	${CMAKE_SOURCE_DIR}/packaging/debian/postrm)

include(CPack)
