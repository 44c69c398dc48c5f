/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_threaded.c - libmosquitto with its own network threads: a publisher and a subscriber, each
 * protocol version and each QoS, several hundred messages that have to arrive in their order.
 *
 * usage: lib_threaded PORT
 *
 * The publisher waits for its CONNACK and keeps within 20 unfinished messages. Beyond that this
 * library loses their order between its two threads, and after a CONNACK of version 5 it forgets what
 * it has sent before, and so goes over the broker's Receive Maximum.
 */
#include <mosquitto.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "integration/lib_transport.h"

enum { MESSAGES = 400, AT_ONCE = 20, DEADLINE_S = 60 };

/* Guarded by lock: both clients' threads call back. */
struct round {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int qos;
	int received;
	int finished;  /* publications whose handshake is over */
	int connected; /* of the two clients */
	bool is_subscribed;
	bool is_wrong;
};

static void fail(const char *what, int code)
{
	fprintf(stderr, "lib_threaded: %s: %s\n", what, mosquitto_strerror(code));
	exit(1);
}

static void on_connect(struct mosquitto *client, void *context, int reason)
{
	struct round *round = context;

	(void)client;
	pthread_mutex_lock(&round->lock);
	round->connected++;
	round->is_wrong |= reason != 0;
	pthread_cond_signal(&round->changed);
	pthread_mutex_unlock(&round->lock);
}

static void on_subscribe(struct mosquitto *client, void *context, int mid, int count,
			 const int *granted)
{
	struct round *round = context;

	(void)client;
	(void)mid;
	pthread_mutex_lock(&round->lock);
	round->is_subscribed = count == 1 && granted[0] == round->qos;
	round->is_wrong |= !round->is_subscribed;
	pthread_cond_signal(&round->changed);
	pthread_mutex_unlock(&round->lock);
}

static void on_message(struct mosquitto *client, void *context,
		       const struct mosquitto_message *message)
{
	struct round *round = context;
	int number = -1;

	(void)client;
	pthread_mutex_lock(&round->lock);
	if (message->payloadlen == sizeof(number)) {
		memcpy(&number, message->payload, sizeof(number));
	}
	if (number != round->received || message->qos != round->qos || message->retain) {
		fprintf(stderr, "lib_threaded: message %d at QoS %d, expected %d at QoS %d\n",
			number, message->qos, round->received, round->qos);
		round->is_wrong = true;
	}
	round->received++;
	pthread_cond_signal(&round->changed);
	pthread_mutex_unlock(&round->lock);
}

static void on_publish(struct mosquitto *client, void *context, int mid)
{
	struct round *round = context;

	(void)client;
	(void)mid;
	pthread_mutex_lock(&round->lock);
	round->finished++;
	pthread_cond_signal(&round->changed);
	pthread_mutex_unlock(&round->lock);
}

static struct mosquitto *client_start(struct round *round, int version, int port)
{
	struct mosquitto *client = mosquitto_new(NULL, true, round);
	const char *host;
	int code;

	if (!client) {
		fail("mosquitto_new", MOSQ_ERR_NOMEM);
	}
	mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, version);
	mosquitto_connect_callback_set(client, on_connect);
	mosquitto_subscribe_callback_set(client, on_subscribe);
	mosquitto_message_callback_set(client, on_message);
	mosquitto_publish_callback_set(client, on_publish);
	host = lib_transport_host(client, &port);
	code = mosquitto_connect(client, host, port, 60);
	if (code == MOSQ_ERR_SUCCESS) {
		code = mosquitto_loop_start(client);
	}
	if (code != MOSQ_ERR_SUCCESS) {
		fail("connect", code);
	}
	return client;
}

static void client_stop(struct mosquitto *client)
{
	mosquitto_disconnect(client);
	mosquitto_loop_stop(client, false);
	mosquitto_destroy(client);
}

/* Waits until each counter is there. */
static void wait_for(struct round *round, int connected, bool subscribed, int received,
		     int finished)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += DEADLINE_S;
	pthread_mutex_lock(&round->lock);
	while (!round->is_wrong &&
	       (round->connected < connected || round->is_subscribed < subscribed ||
		round->received < received || round->finished < finished)) {
		if (pthread_cond_timedwait(&round->changed, &round->lock, &deadline) != 0) {
			fprintf(stderr, "lib_threaded: QoS %d: %d received, %d finished of %d\n",
				round->qos, round->received, round->finished, MESSAGES);
			exit(1);
		}
	}
	if (round->is_wrong) {
		exit(1);
	}
	pthread_mutex_unlock(&round->lock);
}

static void run_round(int version, int qos, int port)
{
	struct round round = {.lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER,
			      .qos = qos};
	struct mosquitto *subscriber = client_start(&round, version, port);
	struct mosquitto *publisher;
	char topic[32];

	snprintf(topic, sizeof(topic), "lib/%d/%d", version, qos);
	mosquitto_subscribe(subscriber, NULL, topic, qos);
	wait_for(&round, 1, true, 0, 0);
	publisher = client_start(&round, version, port);
	wait_for(&round, 2, true, 0, 0);
	for (int number = 0; number < MESSAGES; number++) {
		int code;

		wait_for(&round, 2, true, 0, number - AT_ONCE + 1);
		code = mosquitto_publish(publisher, NULL, topic, sizeof(number), &number, qos,
					 false);

		if (code != MOSQ_ERR_SUCCESS) {
			fail("publish", code);
		}
	}
	wait_for(&round, 2, true, MESSAGES, MESSAGES);
	client_stop(publisher);
	client_stop(subscriber);
}

int main(int argc, char **argv)
{
	static const int versions[] = {MQTT_PROTOCOL_V31, MQTT_PROTOCOL_V311, MQTT_PROTOCOL_V5};
	int port = argc == 2 ? atoi(argv[1]) : 0;

	if (port == 0) {
		fputs("usage: lib_threaded PORT\n", stderr);
		return 2;
	}
	mosquitto_lib_init();
	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		for (int qos = 0; qos <= 2; qos++) {
			run_round(versions[i], qos, port);
		}
	}
	mosquitto_lib_cleanup();
	puts("all messages in their order");
	return 0;
}
