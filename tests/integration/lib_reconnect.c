/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_reconnect.c - a persistent session of libmosquitto whose connection is cut again and again
 * while messages arrive: each comes at least once. (At QoS 2 this library hands a repeated PUBLISH to
 * the program twice, whatever the broker does; that the broker doubles none is shown by stress.c.)
 *
 * usage: lib_reconnect PORT
 */
#include <mosquitto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

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

static void run_round(int port, int qos)
{
	struct reader reader = {0};
	struct mosquitto *writer = mosquitto_new(NULL, true, NULL);
	time_t deadline = time(NULL) + DEADLINE_S;
	char topic[16];
	int sent = 0, cuts = 0;

	snprintf(topic, sizeof(topic), "cut/%d", qos);
	reader.client = mosquitto_new(qos == 1 ? "cut-1" : "cut-2", false, &reader);
	if (!writer || !reader.client) {
		fail("out of memory");
	}
	mosquitto_connect_with_flags_callback_set(reader.client, on_connect);
	mosquitto_subscribe_callback_set(reader.client, on_subscribe);
	mosquitto_message_callback_set(reader.client, on_message);
	if (mosquitto_connect(reader.client, "127.0.0.1", port, 60) ||
	    mosquitto_connect(writer, "127.0.0.1", port, 60) || mosquitto_loop_start(writer)) {
		fail("cannot connect");
	}
	mosquitto_subscribe(reader.client, NULL, topic, qos);
	while (!reader.is_subscribed && time(NULL) < deadline) {
		reader_step(&reader);
	}
	while (reader.distinct < MESSAGES && time(NULL) < deadline) {
		if (sent < MESSAGES) {
			mosquitto_publish(writer, NULL, topic, sizeof(sent), &sent, qos, false);
			sent++;
		}
		reader_step(&reader);
		if (sent % CUT_EVERY == 0 && sent / CUT_EVERY > cuts) {
			cuts++;
			shutdown(mosquitto_socket(reader.client), SHUT_RDWR);
		}
	}
	printf("QoS %d: %d of %d, %d copies, %d cuts\n", qos, reader.distinct, MESSAGES,
	       reader.copies, cuts);
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
	run_round(port, 1);
	run_round(port, 2);
	mosquitto_lib_cleanup();
	return 0;
}
