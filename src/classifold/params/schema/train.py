"""Section `train`: device, precision, threads and processes."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from classifold.params.schema.section import Section


def _check_launcher(launcher: Any) -> Any:
    match launcher:
        case "auto" | "none":
            return launcher
        case {"torchrun": int(n), **others} if not (isinstance(n, bool) or n < 1 or others):
            return launcher
    raise ValueError(f"must be auto, none or {{torchrun: N}} with N processes, got {launcher!r}")


class Train(Section):
    """Section `train`."""

    launcher: Annotated[Any, AfterValidator(_check_launcher)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    compile: bool
