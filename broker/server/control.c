/* SPDX-License-Identifier: Apache-2.0 */
#include "server/control.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bug.h"
#include "net/unix_path.h"
#include "server/control_job.h"

/* A Client Identifier or topic of 64 KiB, each byte of it written as \u00xx. */
#define REQUEST_BYTES_MAX (512u * 1024u)
#define READ_BYTES 65536u
#define PEERS_MAX 32u
/* More than this waits for nobody: the next slice comes when it has been taken. */
#define OUTPUT_BYTES_SLOW (1024u * 1024u)
/* One record may be a retained message of 64 KiB, in Base64. */
#define OUTPUT_BYTES_MAX (64u * 1024u * 1024u)

struct write {
	uv_write_t request;
	uint8_t *bytes;
};

/* The end of a handle; the last one lets control_destroy() free the rest. */
static void handle_closed(struct control *control)
{
	control->handles--;
}

static void on_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

/* Peers. */

static void on_peer_closed(uv_handle_t *handle)
{
	struct control_peer *peer = handle->data;

	handle_closed(peer->control);
	buffer_fini(&peer->in);
	buffer_fini(&peer->out);
	free(peer);
}

static void peer_close(struct control_peer *peer)
{
	struct control_job *job = peer->job;

	if (peer->is_closing)
		return;
	peer->is_closing = true;
	*peer->pprev = peer->next;
	if (peer->next)
		peer->next->pprev = peer->pprev;
	peer->control->peer_count--;
	peer->job = NULL;
	if (job)
		control_job_abandon(job);
	uv_close((uv_handle_t *)&peer->pipe, on_peer_closed);
}

bool control_peer_is_slow(const struct control_peer *peer)
{
	return peer->pipe.write_queue_size > OUTPUT_BYTES_SLOW;
}

static void on_written(uv_write_t *request, int status)
{
	struct write *done = (struct write *)(void *)request;
	struct control_peer *peer = request->handle->data;

	free(done->bytes);
	free(done);
	if (peer->is_closing)
		return;
	if (status < 0 || (peer->is_leaving && peer->pipe.write_queue_size == 0))
		peer_close(peer);
	else if (peer->job && !control_peer_is_slow(peer))
		control_job_drained(peer->job);
}

void control_peer_flush(struct control_peer *peer)
{
	struct write *made;
	uv_buf_t bytes;

	if (peer->is_closing || peer->out.len == 0)
		return;
	made = calloc(1, sizeof *made);
	if (!made) {
		peer_close(peer);
		return;
	}
	made->bytes = peer->out.data;
	bytes = uv_buf_init((char *)peer->out.data, peer->out.len);
	peer->out = BUFFER_NONE;
	if (uv_write(&made->request, (uv_stream_t *)&peer->pipe, &bytes, 1, on_written) != 0) {
		free(made->bytes);
		free(made);
		peer_close(peer);
	}
}

void control_peer_send_take(struct control_peer *peer, cJSON *record)
{
	char *text = record ? cJSON_PrintUnformatted(record) : NULL;
	bool is_sent = false;

	cJSON_Delete(record);
	if (text && !peer->is_closing)
		is_sent = buffer_append(&peer->out, slice_from_string(text), OUTPUT_BYTES_MAX) ==
				  ERR_NONE &&
			  buffer_append(&peer->out, SLICE_LITERAL("\n"), OUTPUT_BYTES_MAX) ==
				  ERR_NONE;
	cJSON_free(text);
	if (!is_sent)
		peer_close(peer); /* no memory: an answer with a hole would be worse */
}

static void peer_refuse(struct control_peer *peer, const char *code, const char *message)
{
	peer->is_leaving = true;
	uv_read_stop((uv_stream_t *)&peer->pipe);
	control_job_error(peer, code, message);
}

/* One line, if it is there whole. */
static bool peer_take_line(struct control_peer *peer)
{
	const uint8_t *end = peer->in.len ? memchr(peer->in.data, '\n', peer->in.len) : NULL;
	struct control_request request;
	struct err_detail detail;
	struct slice line;

	if (!end) {
		if (peer->in.len >= REQUEST_BYTES_MAX)
			peer_refuse(peer, "too_large", "The request is longer than 512 KiB.");
		return false;
	}
	line = slice_of(peer->in.data, (size_t)(end - peer->in.data));
	if (control_request_parse(line, &request, &detail) == ERR_NONE) {
		buffer_consume(&peer->in, line.len + 1);
		control_job_begin_take(peer, &request);
		return true;
	}
	buffer_consume(&peer->in, line.len + 1);
	control_job_error(peer, "bad_request", detail.text);
	return true;
}

static void peer_go_on(struct control_peer *peer)
{
	if (peer->is_going)
		return;
	peer->is_going = true;
	while (!peer->is_closing && !peer->is_leaving && !peer->job && peer_take_line(peer))
		;
	peer->is_going = false;
	if (peer->is_closing || peer->job || !peer->is_at_end)
		return;
	peer->is_leaving = true;
	if (peer->pipe.write_queue_size == 0)
		peer_close(peer);
}

void control_peer_is_free(struct control_peer *peer)
{
	peer->job = NULL;
	peer_go_on(peer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	static char bytes[READ_BYTES]; /* used up before the next read */

	(void)handle;
	(void)suggested;
	*out = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
	struct control_peer *peer = stream->data;

	if (got == 0)
		return;
	if (got < 0) {
		/* Who has said all it wants to say still waits for the answer. */
		peer->is_at_end = true;
		uv_read_stop(stream);
		if (got == UV_EOF)
			peer_go_on(peer);
		else
			peer_close(peer);
		return;
	}
	if (buffer_append(&peer->in, slice_of(bytes->base, (size_t)got), 2 * REQUEST_BYTES_MAX) !=
	    ERR_NONE) {
		peer_close(peer); /* so many requests ahead of their answers */
		return;
	}
	peer_go_on(peer);
}

/* Who is it? false: nobody who may. */
static bool peer_may(struct control_peer *peer)
{
	struct ucred who;
	socklen_t len = sizeof who;
	int fd;

	if (uv_fileno((uv_handle_t *)&peer->pipe, &fd) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
		return false;
	snprintf(peer->who, sizeof peer->who, "user %u, process %d", who.uid, who.pid);
	return who.uid == 0 || who.uid == geteuid();
}

static struct control_peer *peer_make(struct control *control)
{
	struct control_peer *peer = calloc(1, sizeof *peer);

	if (!peer)
		return NULL;
	peer->control = control;
	uv_pipe_init(&control->broker->loop, &peer->pipe, 0);
	peer->pipe.data = peer;
	control->handles++;
	control->peer_count++;
	peer->next = control->peers;
	peer->pprev = &control->peers;
	if (peer->next)
		peer->next->pprev = &peer->next;
	control->peers = peer;
	return peer;
}

static void on_connection(uv_stream_t *server, int status)
{
	struct control *control = server->data;
	struct control_peer *peer = status < 0 ? NULL : peer_make(control);

	if (!peer)
		return;
	if (uv_accept(server, (uv_stream_t *)&peer->pipe) != 0) {
		peer_close(peer);
		return;
	}
	if (!peer_may(peer)) {
		log_event(LOG_TYPE_WARNING, NULL,
			  "Control: %s was refused; only root and the broker's user may",
			  peer->who[0] ? peer->who : "somebody unknown");
		peer_refuse(peer, "denied", "Only root and the broker's user may do this.");
	} else if (control->peer_count > PEERS_MAX) {
		peer_refuse(peer, "too_many", "Too many control connections are open.");
	} else {
		uv_read_start((uv_stream_t *)&peer->pipe, on_alloc, on_read);
	}
}

/* The socket. */

static enum err socket_open(struct control *control, struct err_detail *detail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t before;
	int failed;

	memcpy(address.sun_path, control->path, sizeof address.sun_path);
	if (unix_path_clear(&address, "control_socket", detail) != ERR_NONE) {
		control->path[0] = '\0'; /* not ours: must not be removed */
		return ERR_INVALID;
	}
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0)
		return err_set(detail, ERR_IO, "Cannot make the control_socket: %s.",
			       strerror(errno));
	/* At no moment may others open it. No other thread exists yet. */
	before = umask(0177);
	failed = bind(control->fd, (const struct sockaddr *)&address, sizeof address);
	umask(before);
	if (failed) {
		err_set(detail, ERR_IO,
			errno == EADDRINUSE
				? "The control_socket %s is in use: is another broker running?"
				: "Cannot make the control_socket %s: %s.",
			control->path, strerror(errno));
		control->path[0] = '\0'; /* not ours: must not be removed */
		return ERR_IO;
	}
	if (listen(control->fd, (int)PEERS_MAX) != 0)
		return err_set(detail, ERR_IO, "Cannot listen on the control_socket %s: %s.",
			       control->path, strerror(errno));
	return ERR_NONE;
}

enum err control_open(struct broker *broker, const char *path, struct control **out,
		      struct err_detail *detail)
{
	struct control *control;

	*out = NULL;
	if (strlen(path) >= sizeof control->path)
		return err_set(detail, ERR_INVALID,
			       "The path of the control_socket is longer than %zu bytes: %s.",
			       sizeof control->path - 1, path);
	control = calloc(1, sizeof *control);
	if (!control)
		return err_set(detail, ERR_NOMEM, "No memory for the control_socket.");
	*out = control;
	control->broker = broker;
	control->fd = -1;
	pthread_mutex_init(&control->lock, NULL);
	memcpy(control->path, path, strlen(path) + 1);
	return socket_open(control, detail);
}

void control_on_reload(struct control *control)
{
	struct control_job *job = control->reloading;

	if (job && control->broker->reloads_logged >= job->reload)
		control_reload_ended(job);
}

static void on_control_wake(uv_async_t *async)
{
	control_jobs_look(async->data);
}

void control_start(struct control *control)
{
	uv_loop_t *loop = &control->broker->loop;

	BUG_ON(uv_async_init(loop, &control->wake, on_control_wake) != 0);
	BUG_ON(uv_pipe_init(loop, &control->listener, 0) != 0);
	control->wake.data = control->listener.data = control;
	control->handles = 2;
	control->is_started = true;
	BUG_ON(uv_pipe_open(&control->listener, control->fd) != 0);
	control->fd = -1;
	BUG_ON(uv_listen((uv_stream_t *)&control->listener, (int)PEERS_MAX, on_connection) != 0);
	log_event(LOG_TYPE_INFORMATION, NULL, "Control socket: %s", control->path);
}

void control_stop(struct control *control)
{
	if (!control->is_started || control->is_stopping)
		return;
	control->is_stopping = true;
	while (control->peers)
		peer_close(control->peers);
	uv_close((uv_handle_t *)&control->listener, on_handle_closed);
}

void control_destroy(struct control **control_ref)
{
	struct control *control = *control_ref;

	if (!control)
		return;
	if (control->is_started) {
		control_stop(control);
		control->is_over = true;
		control_jobs_look(control); /* what the workers were the last to have */
		uv_close((uv_handle_t *)&control->wake, on_handle_closed);
		while (control->handles)
			uv_run(&control->broker->loop, UV_RUN_NOWAIT);
	}
	if (control->fd >= 0)
		close(control->fd);
	if (control->path[0])
		unlink(control->path);
	pthread_mutex_destroy(&control->lock);
	free(control);
	*control_ref = NULL;
}
