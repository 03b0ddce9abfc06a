"""The docs' table of the loader: images per second, what reading costs beside a step, and memory."""

from table_parts import markdown, read


def loader_table() -> str:
    """Images per second of CPU time by the number of workers, then overlap and memory in words."""
    result = read("loader")
    rows = [
        [
            f"{row['data']}, workers: {row['workers']}" if row["workers"] else f"{row['data']}, threads",
            f"{row['images_per_cpu_second']:,.0f}",
        ]
        for row in result["rows"]
    ]
    beside, epoch, seen = result["overlap"], result["epoch"], result["machine"]
    first, last = (epoch[f"memory_{part}_tenth_bytes"] / 1e6 for part in ("first", "last"))
    gpu = f", {seen['gpu']}" if seen["gpu"] else ""
    table = markdown(["read by", "images per second of CPU time"], rows)
    alone = f"{beside['reading_seconds']:.1f} s, as many steps alone ({beside['step']}) {beside['steps_seconds']:.1f} s"
    return (
        f"{table}\n\nReading {beside['steps']} batches of {result['batch']} alone took {alone}, "
        f"both {beside['both_seconds']:.1f} s. "
        f"Memory of all processes over an epoch of {epoch['images']:,} images, {epoch['workers']} workers: "
        f"{first:,.0f} MB in its first tenth, {last:,.0f} MB in its last.\n\n"
        f"On {seen['cpu']}, {seen['cores']} cores{gpu}, torch {seen['torch']}."
    )
