"""The stage that costs: the model, its device, and what it gets out of it."""

from grafana import Board, namespace, query, steps

OF = 'stage="separate", namespace=~"$namespace"'
NS = 'namespace=~"$namespace"'


def board():
    board = Board(
        "separate",
        "The model and its device: how fast, how busy, and on a GPU how full and how warm.",
        [namespace("stemflow_device_info")],
    )
    model(board)
    gpu(board)
    return board


def model(board):
    board.row("The model")
    board.stat(
        "Times real time", "Seconds of music per second at work, in each slot.", "suffix: ×",
        f"""sum(rate(stemflow_audio_seconds_total{{{OF}}}[5m]))
            / (sum(rate(stemflow_busy_seconds_total{{{OF}}}[5m])) > 0)""", empty="idle",
    )
    board.stat(
        "Music", "Seconds of music that all of them get through in a second.", "suffix: s/s",
        f"sum(rate(stemflow_audio_seconds_total{{{OF}}}[5m]))",
    )
    board.stat(
        "Busy", "The share of slots at work. Near 1 with tasks waiting: more pods help.", "percentunit",
        f"sum(rate(stemflow_busy_seconds_total{{{OF}}}[5m])) / sum(stemflow_task_slots{{{OF}}})", maximum=1,
    )
    board.stat("Pods", "Processes that separate.", "short", f"count(stemflow_task_slots{{{OF}}})", empty="0")
    board.stat(
        "Shards that wait", "Shards that nobody has had yet, of both lanes.", "short",
        f"sum(max by (namespace, lane) (stemflow_tasks_waiting{{{OF}}}))",
    )
    board.stat(
        "Loading", "How long loading the longest to load model took.", "s",
        f"max(stemflow_model_load_seconds{{{NS}}})",
    )
    board.series(
        "A shard", "One attempt at a shard.", "s",
        *(query(f"histogram_quantile({share}, sum by (le) (rate(stemflow_task_seconds_bucket{{{OF}}}[$__rate_interval])))",
                name) for share, name in ((0.5, "half"), (0.95, "19 of 20"), (0.99, "99 of 100"))),
    )
    board.series(
        "Times real time, by process", "Which of them is slow? A GPU that is shared or throttled shows here.",
        "suffix: ×",
        query(f"""sum by (pod, instance) (rate(stemflow_audio_seconds_total{{{OF}}}[$__rate_interval]))
            / (sum by (pod, instance) (rate(stemflow_busy_seconds_total{{{OF}}}[$__rate_interval])) > 0)""", "{{pod}}"),
    )
    board.table(
        "Devices", "What each process computes on, and how exactly.", "short",
        f"stemflow_device_info{{{NS}}}", hide=("Value", "job", "__name__"),
    )
    board.series(
        "Memory", "Resident memory of each process that separates; a GPU's own is below.", "bytes",
        query(f"process_resident_memory_bytes{{{NS}}} and on (instance) stemflow_device_info", "{{pod}}"),
    )


def gpu(board):
    board.row("The GPUs (needs the DCGM exporter)")
    board.series(
        "Utilization", "The share of time in which a kernel ran. Not how well it used the GPU.", "percent",
        query("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}"), maximum=100,
    )
    board.series(
        "Memory used", "Of the GPU's own memory.", "decmbytes",
        query("max by (Hostname, gpu) (DCGM_FI_DEV_FB_USED)", "{{Hostname}} {{gpu}}"),
    )
    board.series(
        "Power", "What each GPU draws.", "watt",
        query("max by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE)", "{{Hostname}} {{gpu}}"),
    )
    board.series(
        "Temperature", "An L4 slows itself down from some 85 °C on.", "celsius",
        query("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP)", "{{Hostname}} {{gpu}}"), thresholds=steps(75, 85),
    )
