/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_bytes_parts.h - a connection that is still being looked at. Used by first_bytes.c only, and
 * by what counts them.
 */
#ifndef NIGHTJAR_NET_FIRST_BYTES_PARTS_H
#define NIGHTJAR_NET_FIRST_BYTES_PARTS_H

#include <openssl/ssl.h>

#include "net/first_bytes.h"

enum arrival_stage {
	STAGE_LOOK,   /* at what is in the socket */
	STAGE_QUEUED, /* its ClientHello is here, and no place among the handshakes */
	STAGE_HANDSHAKE,
	STAGE_LOOK_INSIDE, /* at the first bytes inside TLS */
	STAGE_GONE,	   /* given away or closed; libuv still has the handle */
};

struct arrival;

struct arrival_link {
	struct arrival *owner;
	struct arrival_link *next, *prev;
};

struct arrival_list {
	struct arrival_link *first, *last;
	uint32_t count;
};

/* Owner: worker. */
struct arrival {
	uv_poll_t poll;
	struct timer timer;
	struct arrival_link in_all, in_queue;
	struct worker *worker;
	struct listener *listener;
	SSL *ssl;
	uint8_t *header;		  /* a PROXY header inside TLS, as far as it is here */
	uint64_t deadline_ms;		  /* connect_timeout ends */
	uint64_t started_ms;		  /* the handshake */
	struct address address;		  /* the client's */
	struct address address_of_socket; /* who sent the PROXY header, if there was one */
	uint32_t low_water;		  /* what SO_RCVLOWAT is set to */
	int fd;
	uint16_t header_len;
	uint8_t stage; /* enum arrival_stage */
	uint8_t watched;
	bool has_poll, is_proxied;
};

/* A worker's. */
struct first_bytes {
	struct worker *worker;
	struct first_bytes_settings settings;
	struct arrival_list all, shaking, queued; /* shaking and queued: the oldest first */
	struct task begin_task;
	struct timer grace;	/* armed while somebody is queued */
	uint64_t turn, turn_us; /* time that this turn has spent on handshakes */
	bool is_stopping;
};

/* Closes it; what and why (may be NULL) are for the log. */
void arrival_end(struct arrival *arrival, const char *what, const char *why);

#endif
