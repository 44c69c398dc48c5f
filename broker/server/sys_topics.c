/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sys_topics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "route/route.h"
#include "store/store.h"
#include "base/version.h"

#define SYS_PREFIX "$SYS/broker/"
#define SYS_TEXT_BYTES 48
/* Without $SYS the retained messages that have expired are still removed now and then. */
#define HOUSEKEEPING_S 60u
#define EXPIRE_NODES_PER_TICK 5000u

enum sys_kind { SYS_IS_COUNTER, SYS_IS_VALUE, SYS_IS_TEXT, SYS_IS_LOAD };

/* What the functions of the table look at. */
struct sys_moment {
	uint64_t sum[COUNTER_COUNT];
	uint64_t uptime_s;
	uint64_t clients_maximum, heap_maximum;
	struct store_figures store;
};

struct sys_row {
	enum sys_kind kind;
	const char *path;
	const char *counters;
	uint64_t (*value)(const struct sys_moment *moment);
	const char *(*words)(const struct sys_moment *moment);
};

static uint64_t sys_uptime(const struct sys_moment *moment)
{
	return moment->uptime_s;
}

static uint64_t sys_clients_connected(const struct sys_moment *moment)
{
	return moment->sum[COUNTER_CLIENTS_CONNECTED];
}

static uint64_t sys_clients_disconnected(const struct sys_moment *moment)
{
	return moment->sum[COUNTER_SESSIONS_OFFLINE];
}

static uint64_t sys_clients_maximum(const struct sys_moment *moment)
{
	return moment->clients_maximum;
}

/* A message that waits for several sessions counts for each of them; its bytes count once. */
static uint64_t sys_messages_stored(const struct sys_moment *moment)
{
	return moment->sum[COUNTER_RETAINED_MESSAGES] + moment->sum[COUNTER_MESSAGES_QUEUED] +
	       moment->sum[COUNTER_MESSAGES_INFLIGHT];
}

static uint64_t sys_messages_bytes(const struct sys_moment *moment)
{
	(void)moment;
	return memory_used(MEMORY_MESSAGE);
}

static uint64_t sys_heap_current(const struct sys_moment *moment)
{
	(void)moment;
	return memory_used_total();
}

static uint64_t sys_heap_maximum(const struct sys_moment *moment)
{
	return moment->heap_maximum;
}

static const char *sys_store_durability(const struct sys_moment *moment)
{
	return store_durability_name(moment->store.durability);
}

static const char *sys_store_state(const struct sys_moment *moment)
{
	return store_state_name(moment->store.state);
}

static uint64_t sys_store_file_bytes(const struct sys_moment *moment)
{
	return moment->store.file_bytes;
}

static uint64_t sys_store_used_bytes(const struct sys_moment *moment)
{
	return moment->store.used_bytes;
}

static uint64_t sys_store_commit_us(const struct sys_moment *moment)
{
	return moment->store.last_commit_us;
}

static uint64_t sys_store_commit_records(const struct sys_moment *moment)
{
	return moment->store.last_commit_records;
}

static const struct sys_row rows[] = {
#define SYS_COUNTER(path) {SYS_IS_COUNTER, path, path, NULL, NULL},
#define SYS_VALUE(path, function) {SYS_IS_VALUE, path, NULL, function, NULL},
#define SYS_TEXT(path, function) {SYS_IS_TEXT, path, NULL, NULL, function},
#define SYS_LOAD(path, counters) {SYS_IS_LOAD, path, counters, NULL, NULL},
#include "server/sys_topics.def"
#undef SYS_COUNTER
#undef SYS_VALUE
#undef SYS_TEXT
#undef SYS_LOAD
};

#define SYS_ROWS (sizeof rows / sizeof *rows)
#define LOADS 3

static const struct {
	const char *name;
	double minutes;
} loads[LOADS] = {{"1min", 1}, {"5min", 5}, {"15min", 15}};

struct sys_load {
	uint64_t before;
	double average[LOADS];
};

/* Owner: worker 0. */
struct sys_topics {
	struct timer timer;
	struct worker *worker;
	unsigned interval_s;
	uint64_t started_ms, ticked_ms;
	uint64_t clients_maximum;
	bool has_version;
	char last[SYS_ROWS][LOADS][SYS_TEXT_BYTES]; /* what was published last */
	struct sys_load load[SYS_ROWS];
};

/* The worker that log lines go to, while it takes any. Any thread, atomic. */
static struct worker *log_worker;

/* false: no credit; it is said again with the next tick. */
static bool publish(struct worker *me, const char *topic, struct slice payload, uint8_t qos,
		    bool retain)
{
	struct slice name = slice_from_string(topic);
	struct message_content content = {
		.topic = name,
		.payload = payload,
		.topic_hash = hash_slice(name),
		.qos = qos,
		.flags = (uint8_t)(MESSAGE_OF_BROKER | (retain ? MESSAGE_RETAIN : 0)),
	};
	struct publication publication = {.message = message_create(me, &content)};
	enum route_status status;

	if (!publication.message)
		return false;
	status = route_publish(me, &publication);
	message_drop(me, &publication.message);
	return status != ROUTE_NO_CREDIT;
}

static void publish_if_changed(struct sys_topics *sys, const char *path, const char *suffix,
			       char *last, const char *text)
{
	char topic[128];

	if (strcmp(last, text) == 0)
		return;
	snprintf(topic, sizeof topic, SYS_PREFIX "%s%s%s", path, suffix ? "/" : "",
		 suffix ? suffix : "");
	if (publish(sys->worker, topic, slice_from_string(text), 2, true))
		snprintf(last, SYS_TEXT_BYTES, "%s", text);
}

static uint64_t load_count(const struct sys_moment *moment, const char *counters)
{
	if (strcmp(counters, "sockets") == 0)
		return moment->sum[COUNTER_CONNECTIONS_ACCEPTED];
	if (strcmp(counters, "connections") == 0)
		return moment->sum[COUNTER_PACKETS_RECEIVED_CONNECT];
	return counters_sys_value(moment->sum, counters);
}

static void publish_load(struct sys_topics *sys, size_t row, const struct sys_moment *moment,
			 double elapsed_s)
{
	struct sys_load *load = &sys->load[row];
	uint64_t now = load_count(moment, rows[row].counters);
	double per_minute = elapsed_s > 0 ? (double)(now - load->before) * 60.0 / elapsed_s : 0;
	char text[SYS_TEXT_BYTES];

	load->before = now;
	for (int i = 0; i < LOADS; i++) {
		double keeps = exp(-elapsed_s / (60.0 * loads[i].minutes));

		load->average[i] = per_minute + keeps * (load->average[i] - per_minute);
		snprintf(text, sizeof text, "%.2f", load->average[i]);
		publish_if_changed(sys, rows[row].path, loads[i].name, sys->last[row][i], text);
	}
}

static void take_moment(struct sys_topics *sys, struct sys_moment *out)
{
	counters_sum(out->sum);
	if (out->sum[COUNTER_CLIENTS_CONNECTED] > sys->clients_maximum)
		sys->clients_maximum = out->sum[COUNTER_CLIENTS_CONNECTED];
	out->clients_maximum = sys->clients_maximum;
	out->heap_maximum = memory_used_peak();
	out->uptime_s = (clock_now_ms() - sys->started_ms) / 1000;
	store_figures_of(sys->worker, &out->store);
}

static void publish_all(struct sys_topics *sys)
{
	uint64_t now_ms = clock_now_ms();
	double elapsed_s = (double)(now_ms - sys->ticked_ms) / 1000.0;
	struct sys_moment moment;
	char text[SYS_TEXT_BYTES];

	sys->ticked_ms = now_ms;
	take_moment(sys, &moment);
	if (!sys->has_version)
		sys->has_version =
			publish(sys->worker, SYS_PREFIX "version",
				SLICE_LITERAL("nightjar version " NIGHTJAR_VERSION), 2, true);
	for (size_t i = 0; i < SYS_ROWS; i++) {
		if (rows[i].kind == SYS_IS_LOAD) {
			publish_load(sys, i, &moment, elapsed_s);
			continue;
		}
		if (rows[i].kind == SYS_IS_TEXT) {
			publish_if_changed(sys, rows[i].path, NULL, sys->last[i][0],
					   rows[i].words(&moment));
			continue;
		}
		snprintf(text, sizeof text, "%llu%s",
			 (unsigned long long)(rows[i].kind == SYS_IS_VALUE
						      ? rows[i].value(&moment)
						      : counters_sys_value(moment.sum,
									   rows[i].counters)),
			 rows[i].value == sys_uptime ? " seconds" : "");
		publish_if_changed(sys, rows[i].path, NULL, sys->last[i][0], text);
	}
}

static void arm(struct sys_topics *sys)
{
	unsigned seconds = sys->interval_s ? sys->interval_s : HOUSEKEEPING_S;

	timer_arm_in(&sys->worker->wheel, &sys->timer, (uint64_t)seconds * 1000);
}

static void on_tick(struct timer *timer)
{
	struct sys_topics *sys = TIMER_OWNER(timer, struct sys_topics, timer);

	if (sys->interval_s)
		publish_all(sys);
	if (retained_expiring_count(route_retained(sys->worker)))
		retained_expire_slice(sys->worker, route_retained(sys->worker),
				      EXPIRE_NODES_PER_TICK);
	arm(sys);
}

void sys_topics_start(struct worker *me, unsigned interval_s)
{
	struct sys_topics *sys = calloc(1, sizeof *sys);

	if (!sys)
		return;
	sys->worker = me;
	sys->interval_s = interval_s;
	sys->started_ms = sys->ticked_ms = clock_now_ms();
	timer_init(&sys->timer, on_tick);
	me->slot[WORKER_SLOT_SERVER] = sys;
	if (interval_s)
		publish_all(sys);
	arm(sys);
	__atomic_store_n(&log_worker, me, __ATOMIC_RELEASE);
}

void sys_topics_set_interval(struct worker *me, unsigned interval_s)
{
	struct sys_topics *sys = me->slot[WORKER_SLOT_SERVER];

	if (!sys)
		return;
	sys->interval_s = interval_s;
	timer_disarm(&me->wheel, &sys->timer);
	arm(sys);
}

void sys_topics_stop(struct worker *me)
{
	struct sys_topics *sys = me->slot[WORKER_SLOT_SERVER];

	__atomic_store_n(&log_worker, NULL, __ATOMIC_RELEASE);
	if (sys)
		timer_disarm(&me->wheel, &sys->timer);
}

void sys_topics_free(struct worker *worker)
{
	free(worker->slot[WORKER_SLOT_SERVER]);
	worker->slot[WORKER_SLOT_SERVER] = NULL;
}

/* The log as topics. */

struct log_letter {
	struct letter letter;
	const char *topic;
	size_t len;
	char line[];
};

static void log_on_arrive(struct worker *me, struct letter *letter)
{
	struct log_letter *line = (struct log_letter *)letter;

	(void)publish(me, line->topic, slice_of(line->line, line->len), 2, false);
	letter_return(me, letter);
}

static const struct letter_type log_letter_type = {
	.name = "log line",
	.on_arrive = log_on_arrive,
	.on_return = letter_destroy,
};

static const char *log_topic(enum log_type type)
{
	switch (type) {
	case LOG_TYPE_ERROR: return SYS_PREFIX "log/E";
	case LOG_TYPE_WARNING: return SYS_PREFIX "log/W";
	case LOG_TYPE_NOTICE: return SYS_PREFIX "log/N";
	case LOG_TYPE_INFORMATION: return SYS_PREFIX "log/I";
	case LOG_TYPE_DEBUG: return SYS_PREFIX "log/D";
	case LOG_TYPE_SUBSCRIBE: return SYS_PREFIX "log/M/subscribe";
	case LOG_TYPE_UNSUBSCRIBE: return SYS_PREFIX "log/M/unsubscribe";
	case LOG_TYPE_WEBSOCKETS: return SYS_PREFIX "log/WS";
	case LOG_TYPE_INTERNAL: break;
	}
	return SYS_PREFIX "log/I";
}

void sys_topics_log(enum log_type type, const char *line)
{
	struct worker *target = __atomic_load_n(&log_worker, __ATOMIC_ACQUIRE);
	size_t len = strlen(line);
	struct log_letter *letter;

	if (!target)
		return;
	letter = letter_create(NULL, &log_letter_type, sizeof *letter + len);
	letter->topic = log_topic(type);
	letter->len = len;
	memcpy(letter->line, line, len);
	letter_post_foreign(target, &letter->letter);
}
