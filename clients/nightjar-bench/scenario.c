/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "scenario.h"

const struct scenario scenarios[] = {
	{
		.name = "one-to-one",
		.help = "publisher i to subscriber i",
		.run = run_one_to_one,
		.defaults = {.publishers = 50, .subscribers = 50, .window = 25, .levels = 2},
		.paired = true,
		.can_persist = true,
	},
	{
		.name = "fan-out",
		.help = "one publisher to all subscribers",
		.run = run_fan_out,
		.defaults = {.publishers = 1, .subscribers = 500, .window = 12},
		.can_persist = true,
	},
	{
		.name = "fan-in",
		.help = "all publishers to one subscriber of '#'",
		.run = run_fan_in,
		.defaults = {.publishers = 200, .subscribers = 1, .window = 16},
		.can_persist = true,
	},
	{
		.name = "wildcard",
		.help = "as one-to-one, through filters with '+' and '#'",
		.run = run_wildcard,
		.defaults = {.publishers = 50, .subscribers = 50, .window = 25},
		.paired = true,
		.can_persist = true,
	},
	{
		.name = "match",
		.help = "publish among --count subscriptions: 80 % exact, 15 % '+', 5 % '#'",
		.run = run_match,
		.defaults = {.publishers = 10,
			     .subscribers = 50,
			     .window = 1000,
			     .count = 500000,
			     .match_percent = 1},
		.counted = "subscriptions",
	},
	{
		.name = "storm",
		.help = "a fan-out at --rate, and the latency of a pair that has no part in it",
		.run = run_storm,
		.defaults = {.publishers = 1, .subscribers = 15000, .window = 100, .rate = 10},
	},
	{
		.name = "connect",
		.help = "--count clients connect, --concurrency at a time",
		.run = run_connect,
		.defaults = {.count = 10000, .concurrency = 100},
		.counted = "clients",
		.silent = true,
	},
	{
		.name = "idle",
		.help = "memory of connections between --base and --count",
		.run = run_idle,
		.defaults = {.base_count = 5000, .count = 15000, .concurrency = 100},
		.counted = "connections",
		.silent = true,
	},
	{
		.name = "churn",
		.help = "connect, subscribe, publish, receive, leave; --count times",
		.run = run_churn,
		.defaults = {.count = 20000, .concurrency = 50},
		.counted = "visits",
	},
	{
		.name = "retained",
		.help = "--count retained messages: store, then deliver to '#', then delete",
		.run = run_retained,
		.defaults = {.count = 100000, .window = 1000},
		.counted = "topics",
	},
	{
		.name = "offline",
		.help = "--count offline sessions get --messages each, and drain them",
		.run = run_offline,
		.defaults = {.count = 1000,
			     .messages = 50,
			     .window = 100,
			     .concurrency = 100,
			     .filters = 1,
			     .qos = 1},
		.counted = "sessions",
	},
};

const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

const struct scenario *scenario_find(const char *name)
{
	for (unsigned i = 0; i < scenario_count; i++)
		if (strcmp(scenarios[i].name, name) == 0)
			return &scenarios[i];
	return NULL;
}
