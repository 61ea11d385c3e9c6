"""What waits, for how long, and what was given up."""

from grafana import Board, lane, namespace, query, stage, steps

OF = 'stage=~"$stage", lane=~"$lane", namespace=~"$namespace"'
NS = 'namespace=~"$namespace"'


def board():
    board = Board(
        "queues",
        "What waits and for how long, what was given up, and how the number of pods follows it.",
        [namespace("stemflow_tasks_waiting"), stage(), lane()],
    )
    waiting(board)
    dead(board)
    scaling(board)
    streams(board)
    return board


def waiting(board):
    board.row("What waits")
    board.series(
        "Tasks that wait", "Tasks that no worker has had yet.", "short",
        query(f"max by (stage, lane) (stemflow_tasks_waiting{{{OF}}})", "{{stage}} {{lane}}"), stack=True,
    )
    board.series(
        "Tasks in hand", "Tasks that a worker has, or had and gave back.", "short",
        query(f"max by (stage, lane) (stemflow_tasks_in_hand{{{OF}}})", "{{stage}} {{lane}}"), stack=True,
    )
    board.series(
        "Oldest task", "Age of the oldest task that is not done. An alert from a quarter of an hour on, in the lane"
        " `interactive`.", "s",
        query(f"max by (stage, lane) (stemflow_oldest_task_seconds{{{OF}}})", "{{stage}} {{lane}}"),
        thresholds=steps(300, 900),
    )
    board.series(
        "Idle slots", "Slots that ask for a task and get none, each in both lanes. Many of them while tasks wait: see"
        " dashboard NATS.", "short", query(f"max by (stage) (stemflow_workers_idle{{{OF}}})", "{{stage}}"),
    )


def dead(board):
    board.row("What was given up, and what came again")
    board.stat(
        "Dead letters", "Tasks that lie in `stemflow dead list`, those of files that are no audio too; `dead redrive`"
        " tries them again.", "short", f"max(stemflow_dead_letters{{{NS}}})", w=6, h=8,
    )
    board.series(
        "Given up", "Tasks that died, by stage, within an hour.", "short",
        query(f'round(sum by (stage) (increase(stemflow_tasks_total{{outcome="dead", stage=~"$stage", {NS}}}[1h])))',
              "{{stage}}"), w=9,
    )
    board.series(
        "Came again", "Deliveries that were not the task's first, as a share of all.", "percentunit",
        query(f"""sum by (stage) (rate(stemflow_redeliveries_total{{stage=~"$stage", {NS}}}[$__rate_interval]))
            / (sum by (stage) (rate(stemflow_tasks_total{{stage=~"$stage", {NS}}}[$__rate_interval])) > 0)""",
              "{{stage}}"), thresholds=steps(0.05, 0.2), w=9,
    )


def scaling(board):
    board.row("How many pods (needs kube-state-metrics)")
    hpa = f'horizontalpodautoscaler=~"(keda-hpa-)?($stage)", {NS}'
    board.series(
        "Wanted and there", "Pods that the autoscaler wants, and those that are ready.", "short",
        query(f"max by (horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_desired_replicas{{{hpa}}})",
              "{{horizontalpodautoscaler}} wanted"),
        query(f'max by (deployment) (kube_deployment_status_replicas_ready{{deployment=~"$stage", {NS}}})',
              "{{deployment}} ready"),
    )
    board.series(
        "What KEDA counts", "Tasks waiting and in hand per trigger, as KEDA reads them from NATS.", "short",
        query('max by (scaledObject, scaler) (keda_scaler_metrics_value{scaledObject=~"$stage"})',
              "{{scaledObject}} {{scaler}}"),
    )


def streams(board):
    board.row("Where it lies")
    board.series(
        "Bytes", "What each stream and bucket of ours holds.", "bytes",
        query(f"max by (stream) (stemflow_stream_bytes{{{NS}}})", "{{stream}}"), stack=True,
    )
    board.series(
        "Full", "What it holds as a share of what it may hold; those without a limit are not here.", "percentunit",
        query(f"""max by (stream) (stemflow_stream_bytes{{{NS}}})
            / max by (stream) (stemflow_stream_limit_bytes{{{NS}}})""", "{{stream}}"),
        thresholds=steps(0.6, 0.8), maximum=1,
    )
