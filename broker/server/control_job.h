/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_job.h - one request on the control socket while it is being answered.
 *
 *	main thread                            worker
 *	job_begin -- slice --(letter)-------> control_look(): some records into slice->page
 *	records go to the peer <--(done)------'
 *	   the peer takes them: the slice goes again, until it is finished
 *	all slices finished: the end
 *
 * A slice belongs to the main thread or, while it travels, to its worker. For the files control*.c.
 */
#ifndef NIGHTJAR_SERVER_CONTROL_JOB_H
#define NIGHTJAR_SERVER_CONTROL_JOB_H

#include <pthread.h>
#include <uv.h>

#include "server/broker.h"
#include "server/control_page.h"
#include "server/control_request.h"
#include "session/inspect.h"

struct retained_cursor;

enum control_result {
	CONTROL_MORE,
	CONTROL_DONE,
	CONTROL_ELSEWHERE, /* another worker has the session by now */
	CONTROL_NOT_FOUND,
	CONTROL_NOT_CONNECTED,
	CONTROL_NO_MEMORY,
};

struct control_slice {
	struct control_slice *done_next;
	struct control_job *job;
	uint16_t worker;
	bool is_cancelled; /* by the main thread: give back what you hold */
	bool is_waiting;   /* until the peer takes what it has been sent */
	bool has_begun;
	enum control_result result;
	struct control_page page;
	uint32_t cursor;
	struct subscription_walk walk;
	struct retained_cursor *retained;
};

struct control_job {
	struct control *control;
	struct control_peer *peer; /* NULL: it has gone */
	struct control_request request;
	struct control_slice *slices;
	unsigned slice_count, running, waiting, attempts;
	uint64_t records;
	enum control_result failure; /* CONTROL_DONE: none */
	unsigned reload;	     /* what it waits for; 0: nothing */
	bool is_told;		     /* its end, or error, has been sent */
};

struct control_peer {
	struct control_peer *next, **pprev;
	struct control *control;
	uv_pipe_t pipe;
	struct buffer in, out;
	struct control_job *job; /* NULL: none; the next request is not read before */
	char who[48];		 /* "user 0, process 123" */
	bool is_closing;
	bool is_leaving; /* closes when it has taken what it was sent */
	bool is_at_end;	 /* it will ask nothing more */
	bool is_going;	 /* peer_go_on() is on the stack */
};

struct control {
	struct broker *broker;
	uv_pipe_t listener;
	uv_async_t wake;
	struct control_peer *peers;
	struct control_job *reloading; /* the one that waits for a reload, or NULL */
	unsigned peer_count, handles;
	int fd; /* before control_start(); then -1 */
	char path[108];
	bool is_started, is_stopping;
	bool is_over; /* the workers have ended */

	/* Guarded by lock: slices that come back. */
	pthread_mutex_t lock;
	struct control_slice *done;
};

/* control.c */
void control_peer_send_take(struct control_peer *peer, cJSON *record);
void control_peer_flush(struct control_peer *peer);
bool control_peer_is_slow(const struct control_peer *peer);
/* The request is answered: the next one may come. */
void control_peer_is_free(struct control_peer *peer);

/* control_job.c */
void control_job_begin_take(struct control_peer *peer, struct control_request *request);
/* The peer takes bytes again. */
void control_job_drained(struct control_job *job);
void control_job_abandon(struct control_job *job);
/* Slices have come back. */
void control_jobs_look(struct control *control);
void control_job_error(struct control_peer *peer, const char *code, const char *message);
void control_job_end(struct control_job *job);
void control_job_free(struct control_job *job);

/* control_look.c: on the slice's worker. */
void control_look(struct worker *me, struct control_slice *slice);

/* control_act.c: commands that need no worker, on the main thread. */
void control_stats(struct control_job *job);
void control_reload(struct control_job *job);
void control_reload_ended(struct control_job *job);
void control_log_level(struct control_job *job);

#endif
