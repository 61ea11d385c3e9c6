"""The servers: who leads, what is stored, who is slow. From prometheus-nats-exporter, prefix `nats`."""

from grafana import Board, namespace, query, steps

NS = 'namespace=~"$namespace"'
LEADER = f'is_stream_leader="true", {NS}'
OURS = f'stream_name="STEMFLOW", is_consumer_leader="true", {NS}'


def board():
    board = Board(
        "nats",
        "The NATS servers: who leads, what is stored, who is slow. What followers tell of a stream or a consumer"
        " is old: only leaders are asked.",
        [namespace("nats_varz_connections")],
    )
    servers(board)
    traffic(board)
    streams(board)
    return board


def servers(board):
    board.row("The servers")
    board.stat("Servers", "Servers that answer.", "short", f"count(nats_varz_connections{{{NS}}})", empty="0")
    board.stat(
        "Storage", "The fullest server: what it stores as a share of what it may store.", "percentunit",
        f"max(nats_server_total_message_bytes{{{NS}}} / (nats_server_max_storage{{{NS}}} > 0))",
        steps(0.6, 0.8), maximum=1,
    )
    board.stat(
        "Streams without a leader", "Streams that nobody leads: nothing is written to them.", "short",
        f"""count(count by (stream_name) (nats_stream_total_messages{{{NS}}})
            unless count by (stream_name) (nats_stream_total_messages{{{LEADER}}})) or vector(0)""", steps(1),
    )
    board.stat(
        "Slow consumers", "Clients that were cut off within an hour, since they did not keep up.", "short",
        f"sum(increase(nats_varz_slow_consumers{{{NS}}}[1h]))", steps(1),
    )
    board.stat("Connections", "Clients of all servers.", "short", f"sum(nats_varz_connections{{{NS}}})")
    board.stat(
        "JetStream off", "Servers on which JetStream is switched off, by itself after a full disk.", "short",
        f"sum(nats_server_jetstream_disabled{{{NS}}})", steps(1),
    )
    board.timeline(
        "Who leads the cluster", "The meta leader: it places streams and consumers.",
        f'max by (server_name) (nats_server_total_streams{{is_meta_leader="true", {NS}}} >= bool 0)'
        f' or 0 * max by (server_name) (nats_server_total_streams{{{NS}}})', "{{server_name}}",
    )
    board.series(
        "Storage by server", "What each server stores.", "bytes",
        query(f"max by (server_name) (nats_server_total_message_bytes{{{NS}}})", "{{server_name}}"),
        query(f"min(nats_server_max_storage{{{NS}}} > 0)", "the least limit"),
    )


def traffic(board):
    board.row("What they do")
    for title, unit, of in (("Messages", "mps", "msgs"), ("Bytes", "Bps", "bytes")):
        board.series(
            title, f"{title} in and out of clients, all servers.", unit,
            *(query(f"sum(rate(nats_varz_{way}_{of}{{{NS}}}[$__rate_interval]))", way) for way in ("in", "out")), w=8,
        )
    board.series(
        "CPU", "In percent of a core, by server.", "percent",
        query(f"max by (server_id) (nats_varz_cpu{{{NS}}})", "{{server_id}}"), w=8,
    )
    board.series(
        "Memory", "Resident memory by server; GOMEMLIMIT keeps it below the pod's limit.", "bytes",
        query(f"max by (server_id) (nats_varz_mem{{{NS}}})", "{{server_id}}"), w=8,
    )
    board.series(
        "JetStream requests", "Requests to JetStream's API, and those that it refused: to ask for what is not there"
        " is one, and usual.", "reqps",
        query(f"sum(rate(nats_varz_jetstream_stats_api_total{{{NS}}}[$__rate_interval]))", "requests"),
        query(f"sum(rate(nats_varz_jetstream_stats_api_errors{{{NS}}}[$__rate_interval]))", "refused"), w=8,
    )
    board.series(
        "Slow consumers", "Clients that were cut off.", "short",
        query(f"increase(nats_varz_slow_consumers{{{NS}}}[$__rate_interval])", "{{server_id}}"), w=8,
    )


def streams(board):
    board.row("Streams and consumers")
    board.series(
        "Bytes by stream", "On the stream's leader; replicas take as much again each.", "bytes",
        query(f"max by (stream_name) (nats_stream_total_bytes{{{LEADER}}})", "{{stream_name}}"), stack=True,
    )
    board.table(
        "Leaders", "Who leads which stream. All on one server: nats server cluster step-down.", "short",
        f"max by (stream_name, stream_leader) (nats_stream_total_messages{{{LEADER}}})", value="messages",
    )
    board.series(
        "Tasks not delivered", "By consumer: `separate` is the lane interactive, `separate-batch` the lane batch.",
        "short", query(f"max by (consumer_name) (nats_consumer_num_pending{{{OURS}}})", "{{consumer_name}}"),
    )
    board.series(
        "Tasks not acknowledged", "By consumer: in a worker's hands, or lost with a worker less than 30 s ago.",
        "short", query(f"max by (consumer_name) (nats_consumer_num_ack_pending{{{OURS}}})", "{{consumer_name}}"),
    )
