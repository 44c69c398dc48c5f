/* SPDX-License-Identifier: Apache-2.0 */
#include "show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned shown; /* records so far */

/* Fields. */

static const char *text_of(const cJSON *record, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(record, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static double number_of(const cJSON *record, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(record, key);

	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static bool flag_of(const cJSON *record, const char *key)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(record, key));
}

static bool has(const cJSON *record, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(record, key) != NULL;
}

/* Printing. */

/* Returns how many columns it took; UTF-8 counts by characters. */
static int put_safe(const char *text)
{
	int columns = 0;

	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		/* C0, DEL, and C1 (U+0080 to U+009F, which UTF-8 writes as C2 80 to C2 9F). */
		bool is_c1 = *at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;

		if (*at < 0x20 || *at == 0x7f || is_c1) {
			at += is_c1;
			columns += printf("\\x%02x", *at);
			continue;
		}
		putchar(*at);
		columns += (*at & 0xc0) != 0x80;
	}
	return columns;
}

static void put_column(const char *text, int width)
{
	int columns = put_safe(*text ? text : "-");

	printf("%*s ", columns < width ? width - columns : 0, "");
}

static void put_number_column(double number, int width)
{
	printf("%*.0f ", width, number);
}

static const char *moment(const cJSON *record, const char *key)
{
	static char text[32];
	time_t when = (time_t)number_of(record, key);
	struct tm parts;

	if (!has(record, key) || !localtime_r(&when, &parts) ||
	    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
		return "";
	return text;
}

static void put_field(const char *name, const char *text)
{
	printf("%-18s ", name);
	put_safe(text);
	putchar('\n');
}

static void put_number_field(const char *name, double number, const char *unit)
{
	printf("%-18s %.0f%s\n", name, number, unit);
}

/* clients */

static void show_client_row(const cJSON *record)
{
	if (shown == 0)
		printf("%-28s %-7s %-19s %-21s %-9s %-5s %-16s %6s %8s %8s\n", "CLIENT", "STATE",
		       "SINCE", "ADDRESS", "TRANSPORT", "MQTT", "USER", "SUBS", "QUEUED",
		       "INFLIGHT");
	put_column(text_of(record, "id"), 28);
	put_column(flag_of(record, "online") ? "online" : "offline", 7);
	put_column(moment(record, "since"), 19);
	put_column(text_of(record, "address"), 21);
	put_column(text_of(record, "transport"), 9);
	put_column(text_of(record, "protocol"), 5);
	put_column(text_of(record, "user"), 16);
	put_number_column(number_of(record, "subscriptions"), 6);
	put_number_column(number_of(record, "queued"), 8);
	printf("%8.0f\n", number_of(record, "inflight"));
}

/* client */

static void show_expiry(const cJSON *record)
{
	if (!has(record, "session_expiry_s"))
		put_field("session expires", "never");
	else if (number_of(record, "session_expiry_s") == 0)
		put_field("session expires", "with its connection");
	else
		put_number_field("session expires", number_of(record, "session_expiry_s"),
				 " s after its connection");
	if (has(record, "expires"))
		put_field("expires at", moment(record, "expires"));
}

static void show_waiting(const char *name, const cJSON *record, const char *count,
			 const char *bytes)
{
	printf("%-18s %.0f messages, %.0f bytes\n", name, number_of(record, count),
	       number_of(record, bytes));
}

static void show_client(const cJSON *record)
{
	bool is_online = flag_of(record, "online");

	put_field("client", text_of(record, "id"));
	put_field("state", is_online ? "online" : "offline");
	put_field("since", moment(record, "since"));
	if (has(record, "user"))
		put_field("user", text_of(record, "user"));
	if (is_online) {
		put_field("address", text_of(record, "address"));
		put_field("transport", text_of(record, "transport"));
		put_number_field("keep alive", number_of(record, "keep_alive_s"), " s");
		put_number_field("unsent output", number_of(record, "output_bytes"), " bytes");
	}
	put_field("listener", text_of(record, "listener"));
	put_field("MQTT version", text_of(record, "protocol"));
	show_expiry(record);
	put_field("will", flag_of(record, "will") ? "yes" : "no");
	show_waiting("queued", record, "queued", "queued_bytes");
	show_waiting("in flight", record, "inflight", "inflight_bytes");
	put_number_field("QoS 2 unreleased", number_of(record, "received_unreleased"), " messages");
	if (has(record, "last_disconnect_reason")) {
		put_field("last disconnect", moment(record, "last_disconnect"));
		put_field("  because", text_of(record, "last_disconnect_reason"));
	}
	put_number_field("subscriptions", number_of(record, "subscriptions"), "");
}

/* subscriptions */

static void put_subscription(const cJSON *record)
{
	printf("%.0f  ", number_of(record, "qos"));
	if (has(record, "group")) {
		printf("$share/");
		put_safe(text_of(record, "group"));
		putchar('/');
	}
	put_safe(text_of(record, "filter"));
	if (flag_of(record, "no_local"))
		printf("  [no local]");
	if (flag_of(record, "retain_as_published"))
		printf("  [retain as published]");
	if (has(record, "subscription_id"))
		printf("  [identifier %.0f]", number_of(record, "subscription_id"));
	putchar('\n');
}

static void show_subscription_row(const cJSON *record)
{
	if (shown == 0)
		printf("%-28s QoS FILTER\n", "CLIENT");
	put_column(text_of(record, "id"), 28);
	putchar(' ');
	put_subscription(record);
}

/* retained */

static void show_retained_row(const cJSON *record)
{
	put_safe(text_of(record, "topic"));
	printf("  (QoS %.0f, %.0f bytes", number_of(record, "qos"),
	       number_of(record, "payload_bytes"));
	if (has(record, "publisher")) {
		printf(", from ");
		put_safe(text_of(record, "publisher"));
	}
	printf(", %s", moment(record, "arrived"));
	if (has(record, "expires"))
		printf(", until %s", moment(record, "expires"));
	printf(")\n    ");
	if (has(record, "payload_base64"))
		printf("base64: %s", text_of(record, "payload_base64"));
	else
		put_safe(text_of(record, "payload"));
	printf("%s\n", flag_of(record, "payload_is_cut") ? " ..." : "");
}

/* stats */

static void show_metric(const cJSON *record)
{
	const char *labels = text_of(record, "labels");

	if (number_of(record, "value") == 0)
		return; /* --json has them */
	printf("%16.0f  %s%s%s%s\n", number_of(record, "value"), text_of(record, "name"),
	       *labels ? "{" : "", labels, *labels ? "}" : "");
}

static void show_histogram(const cJSON *record)
{
	const char *labels = text_of(record, "labels");

	if (number_of(record, "count") == 0)
		return;
	printf("%16.0f  %s%s%s%s: half at most %g, 90 %% at most %g, 99 %% at most %g\n",
	       number_of(record, "count"), text_of(record, "name"), *labels ? "{" : "", labels,
	       *labels ? "}" : "", number_of(record, "p50"), number_of(record, "p90"),
	       number_of(record, "p99"));
}

static void show_broker(const cJSON *record)
{
	double uptime = number_of(record, "uptime_s");

	printf("nightjar %s, process %.0f, %.0f workers, up %.0f d %.0f h %.0f min%s\n",
	       text_of(record, "version"), number_of(record, "pid"), number_of(record, "workers"),
	       (double)(long)(uptime / 86400), (double)((long)(uptime / 3600) % 24),
	       (double)((long)(uptime / 60) % 60), flag_of(record, "stopping") ? ", stopping" : "");
	printf("memory that clients have caused: %.0f bytes, at most %.0f%s\n\n",
	       number_of(record, "memory_bytes"), number_of(record, "memory_peak_bytes"),
	       flag_of(record, "memory_limit_reached") ? "; memory_limit is reached" : "");
}

static void show_worker(const cJSON *record)
{
	printf("worker %.0f: %.0f clients, %.0f publications received, %.0f sent, %.0f turns, "
	       "%.0f of them slow\n",
	       number_of(record, "worker"), number_of(record, "clients"),
	       number_of(record, "publish_received"), number_of(record, "publish_sent"),
	       number_of(record, "turns"), number_of(record, "slow_turns"));
}

static void show_stats(const char *type, const cJSON *record)
{
	if (strcmp(type, "broker") == 0)
		show_broker(record);
	else if (strcmp(type, "worker") == 0)
		show_worker(record);
	else if (strcmp(type, "memory") == 0)
		printf("%16.0f  bytes of memory for %s\n", number_of(record, "bytes"),
		       text_of(record, "class"));
	else if (strcmp(type, "metric") == 0)
		show_metric(record);
	else if (strcmp(type, "histogram") == 0)
		show_histogram(record);
}

/* Acts. */

static void show_act(const char *command, const cJSON *record)
{
	printf(strcmp(command, "forget") == 0 ? "Forgot " : "Disconnected ");
	put_safe(text_of(record, "id"));
	if (flag_of(record, "online")) {
		printf(", which was connected from ");
		put_safe(text_of(record, "address"));
		printf(" since %s", moment(record, "since"));
	}
	if (strcmp(command, "forget") == 0)
		printf("; it had %.0f subscriptions and %.0f messages that waited",
		       number_of(record, "subscriptions"),
		       number_of(record, "queued") + number_of(record, "inflight"));
	puts(".");
}

static void show_types(const cJSON *record)
{
	const cJSON *type, *types = cJSON_GetObjectItemCaseSensitive(record, "types");
	const char *before = "";

	cJSON_ArrayForEach(type, types)
	{
		printf("%s%s", before, cJSON_IsString(type) ? type->valuestring : "?");
		before = " ";
	}
	puts(*before ? "" : "none");
}

void show_record(const struct options *options, const char *line, const cJSON *record)
{
	const char *command = options->command, *type = text_of(record, "type");

	if (options->json)
		fputs(line, stdout);
	else if (strcmp(command, "disconnect") == 0 || strcmp(command, "forget") == 0)
		show_act(command, record);
	else if (strcmp(command, "clients") == 0)
		show_client_row(record);
	else if (strcmp(type, "client") == 0)
		show_client(record);
	else if (strcmp(command, "subscriptions") == 0)
		show_subscription_row(record);
	else if (strcmp(type, "subscription") == 0)
		printf("    QoS "), put_subscription(record);
	else if (strcmp(type, "retained") == 0)
		show_retained_row(record);
	else if (strcmp(type, "reloaded") == 0)
		puts("The configuration was reloaded.");
	else if (strcmp(type, "log-level") == 0)
		show_types(record);
	else
		show_stats(type, record);
	shown++;
}

void show_end(const struct options *options)
{
	if (options->json || shown > 0)
		return;
	if (strcmp(options->command, "clients") == 0)
		puts("There are no sessions.");
	else if (strcmp(options->command, "subscriptions") == 0)
		puts("There are no such subscriptions.");
	else if (strcmp(options->command, "retained") == 0)
		puts("Nothing is retained there.");
}
