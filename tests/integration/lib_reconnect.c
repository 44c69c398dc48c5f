/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_reconnect.c - a persistent session of libmosquitto whose connection is cut again and again
 * while messages arrive: at QoS 1 each comes at least once.
 *
 * usage: lib_reconnect PORT
 *
 * QoS 2 is left to stress.c: this library drops the message when a PUBCOMP cannot be written, so
 * that what a program sees says nothing of the broker.
 */
#include <mosquitto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "integration/lib_transport.h"

enum { MESSAGES = 300, CUT_EVERY = 25, DEADLINE_S = 60 };

struct reader {
	struct mosquitto *client;
	bool is_connected, is_subscribed;
	int arrived[MESSAGES];
	int distinct, copies;
};

static void fail(const char *what)
{
	fprintf(stderr, "lib_reconnect: %s\n", what);
	exit(1);
}

static void on_connect(struct mosquitto *client, void *context, int reason, int flags)
{
	struct reader *reader = context;

	(void)client;
	if (reason != 0) {
		fail("refused");
	}
	if (reader->is_subscribed && !(flags & 1)) {
		fail("the session was not there any more");
	}
	reader->is_connected = true;
}

static void on_subscribe(struct mosquitto *client, void *context, int mid, int count,
			 const int *granted)
{
	(void)client;
	(void)mid;
	(void)count;
	(void)granted;
	((struct reader *)context)->is_subscribed = true;
}

static void on_message(struct mosquitto *client, void *context,
		       const struct mosquitto_message *message)
{
	struct reader *reader = context;
	int number = -1;

	(void)client;
	if (message->payloadlen == sizeof(number)) {
		memcpy(&number, message->payload, sizeof(number));
	}
	if (number < 0 || number >= MESSAGES) {
		fail("a strange message");
	}
	reader->copies++;
	reader->distinct += reader->arrived[number]++ == 0;
}

/* One step of the reader; connects again when the connection is gone. */
static void reader_step(struct reader *reader)
{
	int code = mosquitto_loop(reader->client, 5, 1);

	if (code != MOSQ_ERR_SUCCESS) {
		reader->is_connected = false;
		if (mosquitto_reconnect(reader->client) != MOSQ_ERR_SUCCESS) {
			fail("cannot connect again");
		}
	}
}

static void run(int port)
{
	struct reader reader = {0};
	struct mosquitto *writer = mosquitto_new(NULL, true, NULL);
	time_t deadline = time(NULL) + DEADLINE_S;
	int sent = 0, cuts = 0;
	const char *host;

	reader.client = mosquitto_new("cut", false, &reader);
	if (!writer || !reader.client) {
		fail("out of memory");
	}
	mosquitto_connect_with_flags_callback_set(reader.client, on_connect);
	mosquitto_subscribe_callback_set(reader.client, on_subscribe);
	mosquitto_message_callback_set(reader.client, on_message);
	/* The first call may make port 0, which the second leaves so. */
	host = lib_transport_host(reader.client, &port);
	if (mosquitto_connect(reader.client, host, port, 60) ||
	    mosquitto_connect(writer, lib_transport_host(writer, &port), port, 60) ||
	    mosquitto_loop_start(writer)) {
		fail("cannot connect");
	}
	mosquitto_subscribe(reader.client, NULL, "cut/1", 1);
	while (!reader.is_subscribed && time(NULL) < deadline) {
		reader_step(&reader);
	}
	while (reader.distinct < MESSAGES && time(NULL) < deadline) {
		if (sent < MESSAGES) {
			mosquitto_publish(writer, NULL, "cut/1", sizeof(sent), &sent, 1, false);
			sent++;
		}
		reader_step(&reader);
		if (reader.is_connected && sent / CUT_EVERY > cuts) {
			cuts++;
			reader.is_connected = false;
			shutdown(mosquitto_socket(reader.client), SHUT_RDWR);
		}
	}
	printf("%d of %d, %d copies, %d cuts\n", reader.distinct, MESSAGES, reader.copies, cuts);
	if (reader.distinct != MESSAGES) {
		fail("messages were lost");
	}
	mosquitto_disconnect(writer);
	mosquitto_loop_stop(writer, false);
	mosquitto_destroy(writer);
	mosquitto_disconnect(reader.client);
	mosquitto_destroy(reader.client);
}

int main(int argc, char **argv)
{
	int port = argc == 2 ? atoi(argv[1]) : 0;

	if (port == 0) {
		fputs("usage: lib_reconnect PORT\n", stderr);
		return 2;
	}
	mosquitto_lib_init();
	run(port);
	mosquitto_lib_cleanup();
	return 0;
}
