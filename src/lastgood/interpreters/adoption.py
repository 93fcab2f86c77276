"""The files of a cycle that takes over a generation of the session that leads: its wrappers are promoted already."""

from __future__ import annotations

from lastgood.calls.refresh import Refresh
from lastgood.effects import LeaderGeneration
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.kept_wrappers import CONFIG, WRAPPERS
from lastgood.interpreters.leading import Follower
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import Recipe, StageResult
from lastgood.planner.watch_set import WatchSet

__all__ = ["AdoptedFiles", "stage_adopted"]


class AdoptedFiles(CycleFiles):
    """The files of a cycle that takes over ``good``. It changes none in the output directory."""

    def __init__(self, project: Project, cycle: int, follower: Follower, good: LeaderGeneration) -> None:
        super().__init__(project, cycle)
        self.good = good
        self._follower = follower

    def adopt(self) -> None:
        """Read the config and the wrappers of the generation, as they are kept.

        Raises :class:`~lastgood.store.generations.DamagedGeneration`.
        """
        project, output = self.project, self._follower.output
        project.enter("kept generations", output.home)
        self._follower.need(self.good.manifest)
        self.output = output
        store = project.store(output)
        self.manifest = store.named(self.good.manifest)
        kept = store.files(self.manifest)
        self.config_text = store.read(kept[CONFIG])
        config = project.decode(self.config_text)
        self.config = config.with_output(output.path, pinned=self.manifest)
        self._texts = {
            name.removeprefix(WRAPPERS): (digest, store.read(digest))
            for name, digest in kept.items()
            if name.startswith(WRAPPERS)
        }
        self.staged = {name: digest for name, (digest, _) in sorted(self._texts.items())}
        self.watch = WatchSet(self.good.watched)
        if project.imports is not None:
            texts = self.texts
            replaced = {name: text for name, text in project.adopted.items() if texts.get(name) != text}
            self.refresh = Refresh(output.path, texts, replaced)

    @property
    def has_lost_its_lock(self) -> bool:
        """False: it is the leader's."""
        return False

    def begin_commit(self) -> None:
        """Nothing is to be waited for."""

    def commit(self) -> None:
        """Make the generation the live one of this process. From now on imports of wrappers get its text.

        The leader may promote the next one at any time, which is not live here until it was taken over.
        """
        project, texts = self.project, self.texts
        if project.imports is not None:
            project.imports.hold(self.output_directory.path, dict(texts))
        project.live, project.live_pinned = self.output_directory, None
        project.live_manifest, project.live_interfaces = self.manifest, None
        project.generation = self.good.generation
        project.adopted = texts
        if self.manifest is not None:
            project.manifests.begin(self.cycle, self.manifest)

    def settle(self, now: float) -> None:  # noqa: ARG002 - the leader records the generation
        """Say which generations are needed now."""
        self._follower.need()


def stage_adopted(work: AdoptedFiles) -> Recipe:
    """Read the generation that is to be taken over."""
    yield from ()
    work.adopt()
    return StageResult((), previous=False, changes=work.good.changes)
