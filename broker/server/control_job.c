/* SPDX-License-Identifier: Apache-2.0 */
#include "server/control_job.h"

#include <stdlib.h>

#include "base/bug.h"

#define ATTEMPTS_MAX 5u

struct slice_letter {
	struct letter letter;
	struct control_slice *slice;
};

/* On the worker; the lock is held for two assignments. */
static void slice_on_arrive(struct worker *me, struct letter *letter)
{
	struct control_slice *slice = ((struct slice_letter *)letter)->slice;
	struct control *control = slice->job->control;

	control_look(me, slice);
	pthread_mutex_lock(&control->lock);
	slice->done_next = control->done;
	control->done = slice;
	pthread_mutex_unlock(&control->lock);
	uv_async_send(&control->wake);
	letter_return(me, letter);
}

static const struct letter_type slice_letter_type = {
	.name = "control slice",
	.on_arrive = slice_on_arrive,
	.on_return = letter_destroy,
};

static void slice_post(struct control_slice *slice)
{
	struct slice_letter *letter =
		letter_create(NULL, &slice_letter_type, sizeof(struct slice_letter));

	control_page_clear(&slice->page);
	letter->slice = slice;
	slice->job->running++;
	letter_post_foreign(runtime_worker(slice->job->control->broker->runtime, slice->worker),
			    &letter->letter);
}

void control_job_free(struct control_job *job)
{
	for (unsigned i = 0; i < job->slice_count; i++)
		control_page_fini(&job->slices[i].page);
	if (job->control->reloading == job)
		job->control->reloading = NULL;
	control_request_fini(&job->request);
	free(job->slices);
	free(job);
}

/* Answers. */

void control_job_error(struct control_peer *peer, const char *code, const char *message)
{
	cJSON *record = cJSON_CreateObject();

	cJSON_AddStringToObject(record, "type", "error");
	cJSON_AddStringToObject(record, "code", code);
	cJSON_AddStringToObject(record, "message", message);
	control_peer_send_take(peer, record);
	control_peer_flush(peer);
}

static void send_end(struct control_job *job)
{
	cJSON *record = cJSON_CreateObject();

	cJSON_AddStringToObject(record, "type", "end");
	cJSON_AddNumberToObject(record, "version", CONTROL_VERSION);
	control_json_number(record, "records", job->records);
	control_peer_send_take(job->peer, record);
	control_peer_flush(job->peer);
}

static void send_failure(struct control_job *job)
{
	const char *argument = job->request.argument ? job->request.argument : "";
	struct err_detail detail;

	switch (job->failure) {
	case CONTROL_NOT_FOUND:
	case CONTROL_ELSEWHERE:
		err_set(&detail, ERR_NOT_FOUND,
			job->request.command == CONTROL_RETAINED
				? "Nothing is retained for '%.400s'."
				: "There is no session of a client '%.400s'.",
			argument);
		control_job_error(job->peer, "not_found", detail.text);
		return;
	case CONTROL_NOT_CONNECTED:
		err_set(&detail, ERR_NOT_FOUND, "The client '%.400s' is not connected.", argument);
		control_job_error(job->peer, "not_connected", detail.text);
		return;
	default: control_job_error(job->peer, "no_memory", "The broker has no memory for this.");
	}
}

/* Who did what: only acts are worth a line, not looks. */
static void log_act(const struct control_job *job)
{
	enum control_command command = job->request.command;

	if (job->failure == CONTROL_DONE &&
	    (command == CONTROL_DISCONNECT || command == CONTROL_FORGET))
		log_event(LOG_TYPE_NOTICE,
			  &(struct log_fields){.client_id =
						       slice_from_string(job->request.argument)},
			  "Control: %s, by %s", control_command_name(command),
			  job->peer ? job->peer->who : "a user who has gone since");
}

void control_job_end(struct control_job *job)
{
	struct control_peer *peer = job->peer;

	log_act(job);
	if (peer && !job->is_told) {
		if (job->failure == CONTROL_DONE)
			send_end(job);
		else
			send_failure(job);
	}
	/* Sending may have found that the peer has gone: then it has abandoned the job. */
	peer = job->peer;
	control_job_free(job);
	if (peer)
		control_peer_is_free(peer);
}

/* Slices. */

static void send_page(struct control_job *job, const struct control_page *page)
{
	uint32_t at = 0;

	while (job->peer && at < page->bytes.len) {
		cJSON *record = control_page_next(page, &at);

		job->records++;
		control_peer_send_take(job->peer, record);
	}
	if (job->peer)
		control_peer_flush(job->peer);
}

/* It still holds something on its worker. */
static void slice_cancel(struct control_slice *slice)
{
	slice->is_cancelled = true;
	if (!slice->job->control->is_over) {
		slice_post(slice);
		return;
	}
	control_look(runtime_worker(slice->job->control->broker->runtime, slice->worker), slice);
}

/* The session has moved since it was looked up, which happens when a client comes back just now. */
static bool slice_follow(struct control_slice *slice)
{
	struct control_job *job = slice->job;

	if (job->attempts++ >= ATTEMPTS_MAX || job->control->is_over ||
	    !inspect_owner(job->control->broker->world, slice_from_string(job->request.argument),
			   &slice->worker))
		return false;
	slice_post(slice);
	return true;
}

static void slice_go_on(struct control_slice *slice)
{
	struct control_job *job = slice->job;

	if (!job->peer) {
		slice_cancel(slice);
	} else if (control_peer_is_slow(job->peer)) {
		slice->is_waiting = true;
		job->waiting++;
	} else {
		slice_post(slice);
	}
}

static void slice_came(struct control_slice *slice)
{
	struct control_job *job = slice->job;

	job->running--;
	send_page(job, &slice->page);
	if (slice->page.has_failed)
		job->failure = CONTROL_NO_MEMORY;
	if (slice->result == CONTROL_MORE)
		slice_go_on(slice);
	else if (slice->result != CONTROL_ELSEWHERE)
		job->failure = slice->result == CONTROL_DONE ? job->failure : slice->result;
	else if (!slice_follow(slice))
		job->failure = CONTROL_NOT_FOUND;
	if (job->running == 0 && job->waiting == 0)
		control_job_end(job);
}

void control_jobs_look(struct control *control)
{
	struct control_slice *list;

	pthread_mutex_lock(&control->lock);
	list = control->done;
	control->done = NULL;
	pthread_mutex_unlock(&control->lock);
	while (list) {
		struct control_slice *slice = list;

		list = slice->done_next;
		slice_came(slice);
	}
}

/* Those that wait for the peer wait no longer. */
static void each_waiting(struct control_job *job, void (*act)(struct control_slice *slice))
{
	for (unsigned i = 0; i < job->slice_count; i++) {
		struct control_slice *slice = &job->slices[i];

		if (!slice->is_waiting)
			continue;
		slice->is_waiting = false;
		job->waiting--;
		act(slice);
	}
}

void control_job_drained(struct control_job *job)
{
	if (job->waiting > 0)
		each_waiting(job, slice_post);
}

void control_job_abandon(struct control_job *job)
{
	job->peer = NULL;
	each_waiting(job, slice_cancel);
	/* What runs comes back; what waits for a reload is told nothing. */
	if (job->running == 0 && job->reload)
		control_job_free(job);
}

/* Which workers have to be asked? false: the session is nowhere. */
static bool job_choose_workers(struct control_job *job, uint16_t *out_first)
{
	*out_first = 0;
	job->slice_count = 1;
	switch (job->request.command) {
	case CONTROL_CLIENTS:
	case CONTROL_SUBSCRIPTIONS:
		job->slice_count = runtime_worker_count(job->control->broker->runtime);
		return true;
	case CONTROL_CLIENT:
	case CONTROL_DISCONNECT:
	case CONTROL_FORGET:
		return inspect_owner(job->control->broker->world,
				     slice_from_string(job->request.argument), out_first);
	default: return true;
	}
}

static void job_ask_workers(struct control_job *job)
{
	uint16_t first;

	if (!job_choose_workers(job, &first)) {
		job->slice_count = 0;
		job->failure = CONTROL_NOT_FOUND;
		control_job_end(job);
		return;
	}
	job->slices = calloc(job->slice_count, sizeof *job->slices);
	if (!job->slices) {
		job->slice_count = 0;
		job->failure = CONTROL_NO_MEMORY;
		control_job_end(job);
		return;
	}
	for (unsigned i = 0; i < job->slice_count; i++) {
		job->slices[i].job = job;
		job->slices[i].worker = (uint16_t)(first + i);
		slice_post(&job->slices[i]);
	}
}

void control_job_begin_take(struct control_peer *peer, struct control_request *request)
{
	struct control_job *job = calloc(1, sizeof *job);

	if (!job) {
		control_request_fini(request);
		control_job_error(peer, "no_memory", "The broker has no memory for this.");
		return;
	}
	job->control = peer->control;
	job->peer = peer;
	job->request = *request;
	job->failure = CONTROL_DONE;
	peer->job = job;
	switch (request->command) {
	case CONTROL_STATS: control_stats(job); break;
	case CONTROL_RELOAD: control_reload(job); break;
	case CONTROL_LOG_LEVEL: control_log_level(job); break;
	default: job_ask_workers(job); break;
	}
}
