/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - what publishes or subscribes.
 *
 * A session is one kind; a shared group, a plugin, an HTTP request, a bridge are others. Routing
 * knows nothing more of them than this. Owner: one worker; only it calls the functions.
 *
 * A function called here must not destroy any endpoint: who ends is marked, and goes with the end of
 * the turn. Only on_receipt() may, its own.
 */
#ifndef NIGHTJAR_ROUTE_ENDPOINT_H
#define NIGHTJAR_ROUTE_ENDPOINT_H

#include "runtime/handle.h"
#include "runtime/message.h"
#include "runtime/worker.h"

struct endpoint;

/*
 * A QoS 0 packet is encoded once per protocol version and RETAIN flag and copied to all of its
 * receivers. Owner: the worker; valid during one publication.
 */
#define ENCODINGS 4

struct encoding {
	uint8_t *bytes;
	uint32_t len, cap;
	bool is_valid;
};

struct encoding_cache {
	struct encoding slot[ENCODINGS];
};

/* Which publication this is, for the store (struct store_delivery); id 0: it need not know. */
struct delivery_origin {
	uint64_t id; /* the publishing session's in the store */
	uint16_t packet_id;
};

/* One message on its way to one endpoint, all matching subscriptions merged (or one of them, where
 * duplicates are allowed). Borrowed: valid until deliver() returns. */
struct delivery {
	struct message *message;
	struct encoding_cache
		*encodings; /* shared by all receivers of this message; NULL: there is one */
	const uint32_t *subscription_ids; /* those that are not 0 */
	uint16_t subscription_id_count;
	uint8_t qos;		    /* the lower of the message's and the highest subscription's */
	bool retain;		    /* the RETAIN flag to send */
	bool is_readable;	    /* the rights were proven when the subscription was made... */
	uint16_t rights_generation; /* ...under this generation of the rights */
	struct delivery_origin origin;
	struct shared_ticket *ticket; /* set when a shared group chose this endpoint; else NULL */
};

struct endpoint_ops {
	const char *kind;
	/* NULL: never subscribes. */
	void (*deliver)(struct worker *me, struct endpoint *endpoint,
			const struct delivery *delivery);
	/* One of the receipts that a publication of this endpoint waits for. NULL: never asks. */
	void (*on_receipt)(struct worker *me, struct endpoint *endpoint, uint64_t token);
	/* Would a message of QoS 1 or 2 for it go into the store? NULL: never. */
	bool (*keeps)(const struct endpoint *endpoint);
	/* The answer to route_ask_keepers(). */
	void (*on_keepers)(struct worker *me, struct endpoint *endpoint, bool somebody_keeps);
	/*
	 * Its publications that are spread in slices: the first slice is about to be delivered, and
	 * from now on the next one has to wait; or (is_done) they have reached all subscribers of
	 * this worker.
	 */
	void (*on_spread)(struct worker *me, struct endpoint *endpoint, bool is_done);
};

struct endpoint {
	const struct endpoint_ops *ops;
	handle_t handle; /* names worker and endpoint from other threads; 0: not registered */
};

#endif
