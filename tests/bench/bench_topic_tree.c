/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_topic_tree.c - what a match costs, and what a subscription weighs.
 *
 *	bench_topic_tree [subscriptions [workers]]
 *
 * One subscription in a hundred is "site/S/+/D/state", which several of the published topics match;
 * the others are "device/N/cmd". Of the topics published one in a hundred matches anything.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rcu.h"
#include "route/topic_tree.h"

#define TOPICS 4096u
#define MATCHES 2000000u

struct topic {
	char name[48];
};

static uint64_t links_found;

static double resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = 0;

	if (!file || fscanf(file, "%*s %ld", &pages) != 1)
		exit(1);
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static struct topic_link *subscribe_all(struct topic_tree *tree, unsigned count, unsigned workers)
{
	struct topic_link *links = calloc(count, sizeof *links);
	char filter[64];

	if (!links)
		exit(1);
	for (unsigned i = 0; i < count; i++) {
		if (i % 100 == 0)
			snprintf(filter, sizeof filter, "site/%u/+/%u/state", i % 977, i);
		else
			snprintf(filter, sizeof filter, "device/%u/cmd", i);
		if (topic_tree_add(tree, (uint16_t)(i % workers), slice_from_string(filter),
				   &links[i]) != ERR_NONE)
			exit(1);
	}
	return links;
}

static void topics_make(struct topic *topics, unsigned count, unsigned percent)
{
	for (unsigned i = 0; i < TOPICS; i++) {
		unsigned n = (unsigned)rand() % count;

		if ((unsigned)rand() % 100 >= percent)
			snprintf(topics[i].name, sizeof topics[i].name, "device/%u/data", n);
		else if (n % 100 == 0)
			snprintf(topics[i].name, sizeof topics[i].name, "site/%u/x/%u/state",
				 n % 977, n);
		else
			snprintf(topics[i].name, sizeof topics[i].name, "device/%u/cmd", n);
	}
}

static void measure(struct topic_tree *tree, const struct topic *topics, const char *what)
{
	struct topic_match match = {0};
	uint64_t started, found = 0;

	started = clock_now_us();
	for (unsigned i = 0; i < MATCHES; i++) {
		const char *name = topics[i % TOPICS].name;

		rcu_read_section_begin();
		if (topic_tree_match(tree, 0, slice_from_string(name),
				     hash_slice(slice_from_string(name)), &match) != ERR_NONE)
			exit(1);
		found += match.own_count + match.has_others;
		rcu_read_section_end();
	}
	printf("%-28s %6.0f ns a match, %.3f of them with subscribers\n", what,
	       (double)(clock_now_us() - started) * 1000 / MATCHES, (double)found / MATCHES);
	links_found += found;
	topic_match_fini(&match);
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 1000000;
	unsigned workers = argc > 2 ? (unsigned)atoi(argv[2]) : 32;
	static struct topic topics[TOPICS];
	struct topic_tree *tree;
	struct topic_link *links;
	struct topic_tree_stats stats;
	double before;
	uint64_t started;

	if (count == 0 || workers == 0 || workers > WORKERS_MAX) {
		fprintf(stderr, "usage: %s [subscriptions [workers, 1 to %d]]\n", argv[0],
			WORKERS_MAX);
		return 1;
	}
	rcu_thread_register();
	if (topic_tree_create(&tree) != ERR_NONE)
		return 1;
	before = resident_bytes();
	started = clock_now_us();
	links = subscribe_all(tree, count, workers);
	topic_tree_stats(tree, &stats);
	printf("%u subscriptions, %u workers: %.0f ns to add one, %llu nodes\n", count, workers,
	       (double)(clock_now_us() - started) * 1000 / count, (unsigned long long)stats.nodes);
	printf("%.0f bytes each, the link of %zu bytes included\n",
	       (resident_bytes() - before) / count, sizeof *links);

	topics_make(topics, count, 1);
	measure(tree, topics, "1 % of topics match:");
	topics_make(topics, count, 100);
	measure(tree, topics, "all topics match:");
	for (unsigned i = 1; i < TOPICS; i++)
		topics[i] = topics[i % 64];
	measure(tree, topics, "64 topics, all match:");

	started = clock_now_us();
	for (unsigned i = 0; i < count; i++)
		topic_tree_remove(tree, (uint16_t)(i % workers), &links[i]);
	printf("%.0f ns to remove one\n", (double)(clock_now_us() - started) * 1000 / count);
	free(links);
	topic_tree_destroy(&tree);
	rcu_thread_unregister();
	return links_found == 0;
}
