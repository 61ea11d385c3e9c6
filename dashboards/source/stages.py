"""Each stage in the order of the data: rate, errors, duration; waiting against working; how many."""

from grafana import Board, namespace, query, stage, steps

OF = 'stage=~"$stage", namespace=~"$namespace"'


def board():
    board = Board(
        "stages",
        "A row per stage: what it gets through, what goes wrong, where time goes, and how many there are.",
        [namespace("stemflow_tasks_total"), stage()],
    )
    board.row("$stage", repeat="stage")
    board.series(
        "Tasks by outcome", "Deliveries that came to an end. `retry` was given back by a failure, `interrupted` by a"
        " shutdown; `failed` is the input's fault, `dead` was given up.", "suffix: tasks/s",
        query(f"sum by (outcome) (rate(stemflow_tasks_total{{{OF}}}[$__rate_interval]))", "{{outcome}}"),
        stack=True, w=8,
    )
    board.series(
        "Errors", "The share of deliveries that failed, were given back by a failure, or given up.", "percentunit",
        query(f"""sum(rate(stemflow_tasks_total{{outcome=~"retry|failed|dead", {OF}}}[$__rate_interval]))
            / (sum(rate(stemflow_tasks_total{{{OF}}}[$__rate_interval])) > 0)""", "errors"),
        query(f"""sum(rate(stemflow_redeliveries_total{{{OF}}}[$__rate_interval]))
            / (sum(rate(stemflow_tasks_total{{{OF}}}[$__rate_interval])) > 0)""", "came again"),
        thresholds=steps(0.05, 0.2), w=8,
    )
    board.series(
        "Workers", "Processes, their slots, and the tasks at work in them.", "short",
        query(f"count(stemflow_task_slots{{{OF}}})", "workers"),
        query(f"sum(stemflow_task_slots{{{OF}}})", "slots"),
        query(f"sum(stemflow_tasks_in_progress{{{OF}}})", "at work"), w=8,
    )
    board.series(
        "Waiting against working", "Quantile 0.95 of both. Where waiting is above working, more pods help.", "s",
        query(quantile(0.95, "stemflow_task_wait_seconds"), "waiting"),
        query(quantile(0.95, "stemflow_task_seconds"), "working"), w=8,
    )
    board.heatmap(
        "Working", "How long one attempt at a task takes.", "s",
        f"sum by (le) (increase(stemflow_task_seconds_bucket{{{OF}}}[$__rate_interval]))", w=8,
    )
    board.series(
        "Busy", "The share of slots at work. Near 1 with tasks waiting: more pods help.", "percentunit",
        query(f"""sum(rate(stemflow_busy_seconds_total{{{OF}}}[$__rate_interval]))
            / sum(stemflow_task_slots{{{OF}}})""", "busy"), w=8, maximum=1,
    )
    processes(board)
    return board


def processes(board):
    board.row("The processes")
    of = 'namespace=~"$namespace"'
    board.series(
        "Memory", "Resident memory of each process.", "bytes",
        query(f"process_resident_memory_bytes{{{of}}} and on (instance) stemflow_build_info", "{{pod}}"), w=8,
    )
    board.series(
        "CPU", "Cores that each process takes.", "short",
        query(f"rate(process_cpu_seconds_total{{{of}}}[$__rate_interval])"
              " and on (instance) stemflow_build_info", "{{pod}}"), w=8,
    )
    board.series(
        "Audio to and from the object store", "Bytes by bucket and direction.", "Bps",
        query(f"sum by (bucket, direction) (rate(stemflow_object_bytes_total{{{of}}}[$__rate_interval]))",
              "{{bucket}} {{direction}}"), w=8,
    )


def quantile(share, histogram):
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{OF}}}[$__rate_interval])))"
