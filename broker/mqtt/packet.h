/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet.h - all MQTT packets, for code that handles every one of them.
 *
 * mqtt promises pure functions over bytes: no input or output, no state, no allocation, any thread.
 * It may call base only. How a packet goes through:
 *
 *	packet_frame_decode()	where does it end, which type?		frame.h
 *	<packet>_decode()	checks everything, fills a struct	connect.h publish.h ack.h
 *				of views into the input			subscribe.h disconnect.h
 *	<packet>_encoded_size()	how much room does it need?
 *	<packet>_encode()	writes into the caller's room, returns the bytes written
 *
 * Statements are quoted with the numbers of the MQTT 5 specification; if only 3.1.1 has the rule,
 * the text says so. Malformed Packet (0x81) is what cannot be parsed, an ill-formed Topic Name or
 * Topic Filter included; Protocol Error (0x82) is what can be parsed but must not be said.
 */
#ifndef NIGHTJAR_MQTT_PACKET_H
#define NIGHTJAR_MQTT_PACKET_H

#include "mqtt/ack.h"
#include "mqtt/connect.h"
#include "mqtt/disconnect.h"
#include "mqtt/frame.h"
#include "mqtt/property.h"
#include "mqtt/publish.h"
#include "mqtt/reason_code.h"
#include "mqtt/subscribe.h"
#include "mqtt/version.h"

#endif
