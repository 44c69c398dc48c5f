/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "scenario.h"

const struct scenario scenarios[] = {
	{"one-to-one",
	 "publisher i to subscriber i",
	 run_one_to_one,
	 {.publishers = 50, .subscribers = 50, .window = 25},
	 NULL},
	{"fan-out",
	 "one publisher to all subscribers",
	 run_fan_out,
	 {.publishers = 1, .subscribers = 500, .window = 12},
	 NULL},
	{"fan-in",
	 "all publishers to one subscriber of '#'",
	 run_fan_in,
	 {.publishers = 200, .subscribers = 1, .window = 16},
	 NULL},
	{"wildcard",
	 "as one-to-one, through filters with '+' and '#'",
	 run_wildcard,
	 {.publishers = 50, .subscribers = 50, .window = 25},
	 NULL},
	{"match",
	 "publish among --count subscriptions: 80 % exact, 15 % '+', 5 % '#'",
	 run_match,
	 {.publishers = 10, .subscribers = 50, .window = 1000, .count = 500000, .match_percent = 1},
	 "subscriptions"},
	{"connect",
	 "--count clients connect, --concurrency at a time",
	 run_connect,
	 {.count = 10000, .concurrency = 100},
	 "clients"},
	{"idle",
	 "memory of connections between --base and --count",
	 run_idle,
	 {.base_count = 5000, .count = 15000, .concurrency = 100},
	 "connections"},
	{"churn",
	 "connect, subscribe, publish, receive, leave; --count times",
	 run_churn,
	 {.count = 20000, .concurrency = 50},
	 "visits"},
	{"retained",
	 "--count retained messages: store, then deliver to '#'",
	 run_retained,
	 {.publishers = 1, .subscribers = 1, .count = 100000, .window = 1000},
	 "topics"},
	{"offline",
	 "--count offline sessions get --messages each, and drain them",
	 run_offline,
	 {.publishers = 1,
	  .count = 1000,
	  .messages = 50,
	  .window = 100,
	  .concurrency = 100,
	  .qos = 1},
	 "sessions"},
};

const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

const struct scenario *scenario_find(const char *name)
{
	for (unsigned i = 0; i < scenario_count; i++)
		if (strcmp(scenarios[i].name, name) == 0)
			return &scenarios[i];
	return NULL;
}
