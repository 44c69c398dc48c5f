/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - what publishes or subscribes.
 *
 * A session is one kind; a shared group, a plugin, an HTTP request, a bridge are others. Routing
 * knows nothing more of them than this. Owner: one worker; only it calls the functions.
 */
#ifndef NIGHTJAR_ROUTE_ENDPOINT_H
#define NIGHTJAR_ROUTE_ENDPOINT_H

#include "runtime/handle.h"
#include "runtime/message.h"
#include "runtime/worker.h"

struct endpoint;
struct subscription;

/* One message on its way to one endpoint, all matching subscriptions merged (or one of them, where
 * duplicates are allowed). Borrowed: valid until deliver() returns. */
struct delivery {
	struct message *message;
	struct encoding_cache *encodings; /* shared by all receivers of this message; NULL: none */
	const uint32_t *subscription_ids; /* those that are not 0 */
	uint16_t subscription_id_count;
	uint8_t qos;		 /* the lower of the message's and the highest subscription's */
	bool retain;		 /* the RETAIN flag to send */
	bool readable;		 /* the rights were proven when the subscription was made... */
	uint32_t rights_generation; /* ...under this generation of the rights */
};

struct endpoint_ops {
	const char *kind;
	void (*deliver)(struct endpoint *endpoint, const struct delivery *delivery);
};

struct endpoint {
	const struct endpoint_ops *ops;
	handle_t handle; /* names worker and endpoint from other threads */
};

#endif
