/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.h - a CONNECT that is being decided. Used by connect.c and enhanced_auth.c.
 */
#ifndef NIGHTJAR_SESSION_CONNECT_H
#define NIGHTJAR_SESSION_CONNECT_H

#include "session/client.h"

/* Owner: the client's. The packet is a copy, because deciding may take turns and change workers. */
struct pending_connect {
	struct connect_packet packet; /* views into bytes */
	struct slice client_id;	      /* the packet's, or id_text */
	bool is_assigned;	      /* the identifier is ours */
	bool is_admitted;
	bool has_username; /* the identity's, which an authenticator may set */
	struct slice username;
	uint8_t *renamed;   /* owned: username points into it */
	uint8_t *id_text;   /* owned */
	uint8_t *auth_data; /* owned: the authenticator's last word, for CONNACK */
	uint32_t auth_data_len;
	bool has_auth_data;
	size_t byte_count;
	uint8_t bytes[];
};

void pending_identity_request(const struct client *client, struct identity_request *out,
			      char *address);

/* The Session Expiry Interval, as it is since version 5. */
uint32_t session_expiry_asked(const struct connect_packet *packet);

/* room.c: false: the session would have to be kept, and the store takes none: it is refused. */
bool client_session_fits(struct client *client, struct registration *registration);

#endif
