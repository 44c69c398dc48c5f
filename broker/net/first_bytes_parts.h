/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_bytes_parts.h - a connection that is still being looked at. Shared by first_bytes.c (what is
 * it?), handshake.c (TLS) and arrival.c (waiting, leaving) only.
 */
#ifndef NIGHTJAR_NET_FIRST_BYTES_PARTS_H
#define NIGHTJAR_NET_FIRST_BYTES_PARTS_H

#include <openssl/ssl.h>

#include "net/first_bytes.h"
#include "net/net_worker.h"
#include "net/proxy_header.h"

/* A ClientHello that is longer is not looked into. */
#define LOOK_BYTES_MAX (17u * 1024u)

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

/* What a step says to the loop in arrival_go_on(). */
enum outcome {
	OUTCOME_NEXT, /* the stage has changed */
	OUTCOME_WAIT,
	OUTCOME_GONE, /* given away or closed: the arrival must not be touched any more */
};

static inline struct first_bytes *first_bytes_of(struct worker *me)
{
	return net_worker_of(me)->first_bytes;
}

static inline const struct listener_settings *arrival_place(const struct arrival *arrival)
{
	return listener_settings_of(arrival->listener);
}

/* first_bytes.c */
void arrival_go_on(struct arrival *arrival);
/* Judges whether bytes begin with a PROXY header that may be there. DONE in *out_status: the caller
 * consumes it, and then calls proxy_use(). */
enum outcome proxy_look(struct arrival *arrival, struct slice bytes, struct proxy_header *header,
			enum proxy_header_status *out_status);
void proxy_use(struct arrival *arrival, const struct proxy_header *header);
enum outcome proxy_refuse(struct arrival *arrival, const char *why);
bool first_bytes_are_http(struct slice bytes);

/* handshake.c */
enum outcome handshake_begin(struct arrival *arrival);
enum outcome handshake_step(struct arrival *arrival);
enum outcome handshake_look_inside(struct arrival *arrival);
bool handshake_begin_waiting(struct worker *me, struct task *task);
void handshake_on_grace(struct timer *timer);

/* arrival.c: the two lists that it may be in. */
void arrival_list_add(struct arrival_list *list, struct arrival *arrival,
		      struct arrival_link *link);
void arrival_list_remove(struct arrival_list *list, struct arrival_link *link);
void arrival_leave_queue(struct arrival *arrival);
void arrival_start_clock(struct arrival *arrival);
/* For UV_READABLE, UV_WRITABLE, or (0) until somebody else goes on with it. */
enum outcome arrival_wait(struct arrival *arrival, int events);
/* Until so many bytes are in the socket, of which seen are already. */
enum outcome arrival_wait_for_bytes(struct arrival *arrival, size_t wanted, size_t seen);
void arrival_set_low_water(struct arrival *arrival, uint32_t bytes);
enum outcome arrival_give_to_client(struct arrival *arrival);
enum outcome arrival_give_to_http(struct arrival *arrival, bool is_tls);
/* Closes it; what and why (may be NULL) are for the log. */
void arrival_end(struct arrival *arrival, const char *what, const char *why);
enum outcome arrival_refuse(struct arrival *arrival, enum counter counter, const char *what,
			    const char *why);

#endif
