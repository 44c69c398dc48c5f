/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_properties.c - version 5 through libmosquitto: properties of CONNECT, CONNACK, PUBLISH, will
 * and DISCONNECT, Subscription Identifiers, No Local, reason codes.
 *
 * usage: lib_properties PORT
 *
 * One thread: each step runs the loops of its clients until what it waits for has come.
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "integration/lib_transport.h"

enum { DEADLINE_S = 60 };

struct peer {
	struct mosquitto *client;
	int connack; /* -1: not yet */
	uint16_t topic_alias_maximum;
	char assigned_id[64];
	int suback, puback, unsuback, disconnect; /* Reason Codes, -1: not yet */
	int messages;
	char topic[64], payload[64], content_type[32], response_topic[32], correlation[32];
	char user_properties[64];
	uint32_t expiry_s, identifiers;
	uint8_t format;
};

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "lib_properties: line %d: not so: %s\n", __LINE__,         \
				#condition);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static void copy(char *to, size_t size, const void *from, size_t length)
{
	length = length < size - 1 ? length : size - 1;
	memcpy(to, from, length);
	to[length] = 0;
}

static void on_connect(struct mosquitto *client, void *context, int reason, int flags,
		       const mosquitto_property *properties)
{
	struct peer *peer = context;
	char *assigned = NULL;

	(void)client;
	(void)flags;
	peer->connack = reason;
	mosquitto_property_read_int16(properties, MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
				      &peer->topic_alias_maximum, false);
	if (mosquitto_property_read_string(properties, MQTT_PROP_ASSIGNED_CLIENT_IDENTIFIER,
					   &assigned, false)) {
		copy(peer->assigned_id, sizeof(peer->assigned_id), assigned, strlen(assigned));
		free(assigned);
	}
}

static void read_text(const mosquitto_property *properties, int id, char *to, size_t size)
{
	char *text = NULL;

	to[0] = 0;
	if (mosquitto_property_read_string(properties, id, &text, false)) {
		copy(to, size, text, strlen(text));
		free(text);
	}
}

static void read_user_properties(struct peer *peer, const mosquitto_property *properties)
{
	const mosquitto_property *next = properties;
	char *name, *value;
	bool skip = false;

	peer->user_properties[0] = 0;
	while ((next = mosquitto_property_read_string_pair(next, MQTT_PROP_USER_PROPERTY, &name,
							   &value, skip))) {
		size_t used = strlen(peer->user_properties);

		snprintf(peer->user_properties + used, sizeof(peer->user_properties) - used,
			 "%s=%s;", name, value);
		free(name);
		free(value);
		skip = true;
	}
}

static void on_message(struct mosquitto *client, void *context,
		       const struct mosquitto_message *message,
		       const mosquitto_property *properties)
{
	struct peer *peer = context;
	const mosquitto_property *next = properties;
	void *data = NULL;
	uint16_t length = 0;
	uint32_t identifier;
	bool skip = false;

	(void)client;
	peer->messages++;
	copy(peer->topic, sizeof(peer->topic), message->topic, strlen(message->topic));
	copy(peer->payload, sizeof(peer->payload), message->payload, (size_t)message->payloadlen);
	read_text(properties, MQTT_PROP_CONTENT_TYPE, peer->content_type,
		  sizeof(peer->content_type));
	read_text(properties, MQTT_PROP_RESPONSE_TOPIC, peer->response_topic,
		  sizeof(peer->response_topic));
	read_user_properties(peer, properties);
	peer->expiry_s = 0;
	mosquitto_property_read_int32(properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
				      &peer->expiry_s, false);
	mosquitto_property_read_byte(properties, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, &peer->format,
				     false);
	if (mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &data, &length,
					   false)) {
		copy(peer->correlation, sizeof(peer->correlation), data, length);
		free(data);
	}
	peer->identifiers = 0;
	while ((next = mosquitto_property_read_varint(next, MQTT_PROP_SUBSCRIPTION_IDENTIFIER,
						      &identifier, skip))) {
		peer->identifiers += identifier;
		skip = true;
	}
}

static void on_subscribe(struct mosquitto *client, void *context, int mid, int count,
			 const int *granted, const mosquitto_property *properties)
{
	(void)client;
	(void)mid;
	(void)properties;
	((struct peer *)context)->suback = count > 0 ? granted[0] : 0xff;
}

static void on_unsubscribe(struct mosquitto *client, void *context, int mid,
			   const mosquitto_property *properties)
{
	(void)client;
	(void)mid;
	(void)properties;
	((struct peer *)context)->unsuback = 0;
}

static void on_publish(struct mosquitto *client, void *context, int mid, int reason,
		       const mosquitto_property *properties)
{
	(void)client;
	(void)mid;
	(void)properties;
	((struct peer *)context)->puback = reason;
}

static void on_disconnect(struct mosquitto *client, void *context, int reason,
			  const mosquitto_property *properties)
{
	(void)client;
	(void)properties;
	((struct peer *)context)->disconnect = reason;
}

static void peer_open(struct peer *peer, const char *id, int port, mosquitto_property *properties)
{
	const char *host;

	*peer = (struct peer){.client = mosquitto_new(id, true, peer),
			      .connack = -1,
			      .suback = -1,
			      .puback = -1,
			      .unsuback = -1,
			      .disconnect = -1};
	CHECK(peer->client);
	mosquitto_int_option(peer->client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
	mosquitto_connect_v5_callback_set(peer->client, on_connect);
	mosquitto_disconnect_v5_callback_set(peer->client, on_disconnect);
	mosquitto_message_v5_callback_set(peer->client, on_message);
	mosquitto_subscribe_v5_callback_set(peer->client, on_subscribe);
	mosquitto_unsubscribe_v5_callback_set(peer->client, on_unsubscribe);
	mosquitto_publish_v5_callback_set(peer->client, on_publish);
	host = lib_transport_host(peer->client, &port);
	CHECK(mosquitto_connect_bind_v5(peer->client, host, port, 60, NULL, properties) ==
	      MOSQ_ERR_SUCCESS);
}

/* Runs both loops until *value is not `from` any more. */
static void wait_change(struct peer *one, struct peer *two, const int *value, int from)
{
	time_t deadline = time(NULL) + DEADLINE_S;

	while (*value == from) {
		mosquitto_loop(one->client, 10, 1);
		if (two) {
			mosquitto_loop(two->client, 10, 1);
		}
		CHECK(time(NULL) < deadline);
	}
}

static mosquitto_property *message_properties(void)
{
	mosquitto_property *list = NULL;

	CHECK(!mosquitto_property_add_byte(&list, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, 1));
	CHECK(!mosquitto_property_add_int32(&list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, 1000));
	CHECK(!mosquitto_property_add_string(&list, MQTT_PROP_CONTENT_TYPE, "text/plain"));
	CHECK(!mosquitto_property_add_string(&list, MQTT_PROP_RESPONSE_TOPIC, "back"));
	CHECK(!mosquitto_property_add_binary(&list, MQTT_PROP_CORRELATION_DATA, "c-1", 3));
	CHECK(!mosquitto_property_add_string_pair(&list, MQTT_PROP_USER_PROPERTY, "a", "1"));
	CHECK(!mosquitto_property_add_string_pair(&list, MQTT_PROP_USER_PROPERTY, "b", "2"));
	CHECK(!mosquitto_property_add_string_pair(&list, MQTT_PROP_USER_PROPERTY, "a", "3"));
	return list;
}

static void check_message(const struct peer *peer, const char *topic, const char *payload)
{
	CHECK(strcmp(peer->topic, topic) == 0);
	CHECK(strcmp(peer->payload, payload) == 0);
	CHECK(strcmp(peer->content_type, "text/plain") == 0);
	CHECK(strcmp(peer->response_topic, "back") == 0);
	CHECK(strcmp(peer->correlation, "c-1") == 0);
	CHECK(strcmp(peer->user_properties, "a=1;b=2;a=3;") == 0);
	CHECK(peer->format == 1);
	CHECK(peer->expiry_s > 900 && peer->expiry_s <= 1000);
}

static void subscribe(struct peer *peer, const char *filter, int options, uint32_t identifier)
{
	mosquitto_property *list = NULL;

	CHECK(!mosquitto_property_add_varint(&list, MQTT_PROP_SUBSCRIPTION_IDENTIFIER, identifier));
	peer->suback = -1;
	CHECK(!mosquitto_subscribe_v5(peer->client, NULL, filter, 1, options, list));
	wait_change(peer, NULL, &peer->suback, -1);
	CHECK(peer->suback == 1);
	mosquitto_property_free_all(&list);
}

static void check_messages(struct peer *reader, struct peer *writer)
{
	mosquitto_property *list = message_properties();

	CHECK(!mosquitto_publish_v5(writer->client, NULL, "props/nobody", 1, "x", 1, false, NULL));
	wait_change(writer, reader, &writer->puback, -1);
	CHECK(writer->puback == MQTT_RC_NO_MATCHING_SUBSCRIBERS);
	/* One filter: libmosquitto takes two Subscription Identifiers in a PUBLISH for an error. */
	subscribe(reader, "props/+", 0, 107);
	writer->puback = -1;
	CHECK(!mosquitto_publish_v5(writer->client, NULL, "props/a", 4, "body", 1, false, list));
	wait_change(reader, writer, &reader->messages, 0);
	wait_change(writer, reader, &writer->puback, -1);
	CHECK(writer->puback == 0);
	check_message(reader, "props/a", "body");
	CHECK(reader->identifiers == 107);
	mosquitto_property_free_all(&list);
}

/* No Local: its own message does not come back, another's does. */
static void check_no_local(struct peer *reader, struct peer *writer)
{
	CHECK(!mosquitto_unsubscribe_v5(reader->client, NULL, "props/+", NULL));
	wait_change(reader, writer, &reader->unsuback, -1);
	subscribe(reader, "local", MQTT_SUB_OPT_NO_LOCAL, 9);
	reader->messages = 0;
	reader->puback = -1;
	CHECK(!mosquitto_publish_v5(reader->client, NULL, "local", 3, "own", 1, false, NULL));
	wait_change(reader, writer, &reader->puback, -1);
	CHECK(!mosquitto_publish_v5(writer->client, NULL, "local", 5, "other", 1, false, NULL));
	wait_change(reader, writer, &reader->messages, 0);
	CHECK(strcmp(reader->payload, "other") == 0);
	CHECK(reader->identifiers == 9);
}

static void check_will(struct peer *reader, int port)
{
	mosquitto_property *list = message_properties();
	struct peer dying;
	const char *host;

	subscribe(reader, "will", 0, 3);
	reader->messages = 0;
	dying = (struct peer){.client = mosquitto_new("dying", true, &dying), .connack = -1};
	CHECK(dying.client);
	mosquitto_int_option(dying.client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
	mosquitto_connect_v5_callback_set(dying.client, on_connect);
	CHECK(!mosquitto_will_set_v5(dying.client, "will", 4, "gone", 1, false, list));
	host = lib_transport_host(dying.client, &port);
	CHECK(!mosquitto_connect_bind_v5(dying.client, host, port, 60, NULL, NULL));
	wait_change(&dying, NULL, &dying.connack, -1);
	CHECK(!mosquitto_disconnect_v5(dying.client, MQTT_RC_DISCONNECT_WITH_WILL_MSG, NULL));
	wait_change(reader, &dying, &reader->messages, 0);
	check_message(reader, "will", "gone");
	mosquitto_destroy(dying.client);
}

static void check_takeover(struct peer *reader, int port)
{
	struct peer second;

	peer_open(&second, "props-reader", port, NULL);
	wait_change(&second, reader, &second.connack, -1);
	wait_change(reader, &second, &reader->disconnect, -1);
	CHECK(reader->disconnect != 0);
	mosquitto_destroy(second.client);
}

int main(int argc, char **argv)
{
	int port = argc == 2 ? atoi(argv[1]) : 0;
	mosquitto_property *list = NULL;
	struct peer reader, writer;

	if (port == 0) {
		fputs("usage: lib_properties PORT\n", stderr);
		return 2;
	}
	mosquitto_lib_init();
	CHECK(!mosquitto_property_add_int32(&list, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 60));
	CHECK(!mosquitto_property_add_int16(&list, MQTT_PROP_RECEIVE_MAXIMUM, 10));
	CHECK(!mosquitto_property_add_string_pair(&list, MQTT_PROP_USER_PROPERTY, "who", "me"));
	peer_open(&reader, "props-reader", port, list);
	peer_open(&writer, NULL, port, NULL);
	wait_change(&reader, NULL, &reader.connack, -1);
	wait_change(&writer, NULL, &writer.connack, -1);
	CHECK(reader.connack == 0 && writer.connack == 0);
	CHECK(reader.topic_alias_maximum == 10);
	CHECK(reader.assigned_id[0] == 0 && writer.assigned_id[0] != 0);
	check_messages(&reader, &writer);
	check_no_local(&reader, &writer);
	check_will(&reader, port);
	check_takeover(&reader, port);
	mosquitto_disconnect(writer.client);
	mosquitto_destroy(writer.client);
	mosquitto_destroy(reader.client);
	mosquitto_property_free_all(&list);
	mosquitto_lib_cleanup();
	puts("all properties went through");
	return 0;
}
