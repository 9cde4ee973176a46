/* An example of a node agent: a command line over libkvm_hotplug. Every command is one short session: load the record,
 * connect to the guest, do one thing, close. A long-running agent keeps both open, and puts the guest's descriptor
 * (events.c) into its own event loop. */
#include "agent.h"

#include <stdio.h>

#include "events.h"
#include "report.h"

static enum status run(struct agent *agent)
{
    switch (agent->options.command) {
    case COMMAND_INIT:
        return agent_init(agent);
    case COMMAND_MAP:
        return agent_map(agent);
    case COMMAND_LIST:
        return agent_list(agent);
    case COMMAND_ADD_NIC:
        return agent_add_nic(agent);
    case COMMAND_ADD_DISK:
        return agent_add_disk(agent);
    case COMMAND_DEL:
        return agent_del(agent);
    case COMMAND_WATCH:
        return agent_watch(agent);
    }
    return STATUS_USAGE;
}

/* Opening settles what an agent that died had begun, and the events say what. */
static enum status open_guest(struct agent *agent)
{
    const struct options *options = &agent->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_load(options->runtime, &agent->runtime, &error) < 0 ||
        kvm_hotplug_open(agent->runtime, options->socket, options->timeout_ms, &agent->guest, &error) < 0)
        return report_error(error);
    return print_events(agent, stderr);
}

/* Without a guest the record is only looked at, which disturbs nobody. */
static enum status open_record(struct agent *agent)
{
    struct kvm_hotplug_error *error = NULL;

    if (agent->options.command == COMMAND_INIT)
        return STATUS_DONE;
    if (kvm_runtime_read(agent->options.runtime, &agent->runtime, &error) < 0)
        return report_error(error);
    return STATUS_DONE;
}

int main(int argc, char **argv)
{
    struct agent agent = {.guest = NULL};
    enum parsed parsed = options_parse(&agent.options, argc, argv);
    enum status status;

    if (parsed != PARSED)
        return parsed == PARSED_HELP ? STATUS_DONE : STATUS_USAGE;
    agent.terminal = terminal_look(agent.options.plain);
    status = agent.options.socket != NULL ? open_guest(&agent) : open_record(&agent);
    if (status == STATUS_DONE)
        status = run(&agent);
    kvm_hotplug_close(agent.guest);
    kvm_runtime_free(agent.runtime);
    if (fflush(stdout) != 0 && status == STATUS_DONE)
        status = STATUS_FAILED;
    return status;
}
