/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h - protocol versions and packet types: the words every other file here is made of.
 */
#ifndef NIGHTJAR_MQTT_VERSION_H
#define NIGHTJAR_MQTT_VERSION_H

/* The values are the Protocol Levels of CONNECT. */
enum mqtt_version {
	MQTT_VERSION_NONE = 0, /* before CONNECT */
	MQTT_V31 = 3,
	MQTT_V311 = 4,
	MQTT_V5 = 5,
};

/* The values are bits 7-4 of a packet's first byte. */
enum packet_type {
	PACKET_WILL = 0, /* on no wire: stands for the Will Properties of CONNECT in tables */
	PACKET_CONNECT = 1,
	PACKET_CONNACK = 2,
	PACKET_PUBLISH = 3,
	PACKET_PUBACK = 4,
	PACKET_PUBREC = 5,
	PACKET_PUBREL = 6,
	PACKET_PUBCOMP = 7,
	PACKET_SUBSCRIBE = 8,
	PACKET_SUBACK = 9,
	PACKET_UNSUBSCRIBE = 10,
	PACKET_UNSUBACK = 11,
	PACKET_PINGREQ = 12,
	PACKET_PINGRESP = 13,
	PACKET_DISCONNECT = 14,
	PACKET_AUTH = 15,
};

#endif
