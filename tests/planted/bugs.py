"""The bugs that are planted, and for each the test that must see it.

A bug is a text of a file that is replaced by another one. The text must stand in the file just once: who changes it
there is told so by `test_planted.py`, and says here how the same mistake would look now.
"""

from __future__ import annotations

import attrs

__all__ = ["BUGS", "SAMPLE", "Bug"]


@attrs.frozen
class Bug:
    """A mistake that somebody could make."""

    name: str
    what: str
    """What it would do to a program."""
    file: str
    """Within the package."""
    old: str
    new: str
    test: str
    """Within `tests`: the one that must fail."""

    def apply(self, source: bytes) -> bytes:
        """The text with the bug."""
        old = self.old.encode()
        if source.count(old) != 1:
            raise LookupError(f"{self.name}: expected once in {self.file}, got {source.count(old)} times: {self.old!r}")
        return source.replace(old, self.new.encode())


_LISTED = [
    # One value: acknowledged in time, to be taken back when its peer goes
    Bug(
        "early-acknowledgement",
        "a value is acknowledged though the task that is to have it has not run",
        "_protocol/window.py",
        "if not self.unbuffered:\n            self.confirm(self.delivered)",
        "self.confirm(self.delivered)",
        "protocol/test_confirming.py::test_a_step_confirms_what_had_been_delivered_before_the_step_before_the_last",
    ),
    Bug(
        "acknowledged-on-arrival",
        "a value is acknowledged when it has come, though nobody has taken it",
        "_network/links.py",
        "window.deliver(count, stepped=waited)",
        "window.deliver(window.received - window.delivered, stepped=waited)",
        "network/test_links.py::test_a_receiving_link_as_the_port_says",
    ),
    Bug(
        "last-word-too-early",
        "the last word counts values that no task has yet",
        "_protocol/session.py",
        "if channel.receiver.confirmed < delivered:",
        "if False:",
        "protocol/test_confirming.py::test_the_last_word_waits_until_all_that_it_counts_is_confirmed",
    ),
    Bug(
        "lost-requeue",
        "what a peer had not acknowledged when it went is dealt to nobody",
        "_channels/dealing.py",
        "            else:\n                heapq.heappush(self._waiting, value)\n        return back",
        "        return back",
        "channels/test_dealing.py::test_what_comes_back_is_dealt_first_in_the_order_it_was_taken",
    ),
    Bug(
        "requeue-out-of-order",
        "what comes back is dealt in the order in which it came back",
        "_channels/dealing.py",
        "            else:\n                heapq.heappush(self._waiting, value)\n        return back",
        "            else:\n                self._waiting.append(value)\n        return back",
        "channels/test_dealing.py::test_what_comes_back_is_dealt_first_in_the_order_it_was_taken",
    ),
    Bug(
        "reject-not-requeued",
        "a value that a program rejects counts as done",
        "_channels/outgoing.py",
        "        if accepted:\n            self._waits.acknowledged(link, self._dealer.accepted(link, batches))",
        "        if True:\n            self._waits.acknowledged(link, self._dealer.accepted(link, batches))",
        "whole/test_manual.py::test_a_rejected_value_comes_again_before_new_ones",
    ),
    Bug(
        "redelivered-forgotten",
        "a value that some importer was handed before comes as if it were new",
        "_channels/dealing.py",
        "batch.redelivered = bool(again)",
        "batch.redelivered = False",
        "channels/test_deliveries.py::test_a_batch_has_either_what_came_back_or_what_is_new",
    ),
    Bug(
        "settled-twice",
        "a value that is settled twice is counted twice, and takes the place of another",
        "_protocol/settling.py",
        "number == last or not 0 <= inside < batch.count or self._settled[place][inside]",
        "not 0 <= inside < batch.count",
        "protocol/test_settling.py::test_a_wrong_settlement_changes_nothing",
    ),
    Bug(
        "one-redelivery-too-few",
        "a value is given up one redelivery before `max_redeliveries`",
        "_channels/dealing.py",
        "if counted and value.returns > self._max_redeliveries:",
        "if counted and value.returns >= self._max_redeliveries:",
        "channels/test_deliveries.py::test_what_comes_back_too_often_is_dealt_no_more",
    ),
    Bug(
        "one-refusal-too-many",
        "a value that does not fit is dealt once more than `max_redeliveries`",
        "_channels/dealing.py",
        "        value.returns += 1\n        if value.returns > self._max_redeliveries:",
        "        value.returns += 1\n        if value.returns > self._max_redeliveries + 1:",
        "channels/test_outgoing.py::test_a_value_that_is_refused_too_often_is_dropped_and_told",
    ),
    Bug(
        "delivered-twice",
        "a value for which the deliverer has waited is delivered again",
        "_channels/incoming.py",
        "backlog.values.pop()",
        "pass",
        "channels/test_incoming.py::test_a_foreign_end",
    ),
    Bug(
        "value-after-a-bad-one",
        "values behind one that does not fit are sent",
        "_channels/outgoing.py",
        '        self._owner.failed(error)\n        self.abandon("the program failed")',
        "        self._owner.failed(error)\n        del self._intake.taken[:1]",
        "channels/test_outgoing.py::test_a_misfit_ends_the_channel_and_what_came_before_it_is_sent",
    ),
    # Credit
    Bug(
        "credit-one-too-many",
        "the sender takes one value more than it was granted",
        "_protocol/window.py",
        "return count <= min(self.value_limit, self.acknowledged + self.window) - self.sent",
        "return count <= min(self.value_limit, self.acknowledged + self.window) - self.sent + 1",
        "protocol/test_window.py::test_fault_37_a_huge_window_is_not_used_beyond_the_own_one",
    ),
    Bug(
        "one-value-too-many-accepted",
        "the receiver takes one value more than it has granted",
        "_protocol/window.py",
        "if first + count > self._value_limit:",
        "if first + count > self._value_limit + 1:",
        "protocol/test_window.py::test_a_receiver_refuses",
    ),
    Bug(
        "one-credit-too-few",
        "the receiver tells of one value less than it could take, and a window of 1 stands still",
        "_protocol/window.py",
        "return self.confirmed, self._value_limit, self._byte_limit",
        "return self.confirmed, self._value_limit - 1, self._byte_limit",
        "protocol/test_window.py::test_windows_against_plain_lists_by_chance",
    ),
    Bug(
        "byte-credit-not-returned",
        "the bytes of what is acknowledged are never free again",
        "_protocol/window.py",
        "            self._bytes_kept -= batch.size",
        "            pass",
        "protocol/test_window.py::test_a_sender_keeps_no_more_bytes_than_it_wants_whatever_was_granted",
    ),
    Bug(
        "byte-credit-not-granted",
        "the receiver counts bytes that it has delivered as if it still had them",
        "_protocol/window.py",
        "self._bytes_confirmed += arrived.pop(0)[1]",
        "arrived.pop(0)",
        "protocol/test_window.py::test_bytes_of_a_batch_are_granted_anew_when_all_of_it_is_delivered",
    ),
    Bug(
        "window-not-clamped",
        "a peer that asks for a window of a billion gets it",
        "_protocol/session.py",
        "return max(1, min(window, self._limits.max_window))",
        "return max(1, window)",
        "protocol/test_session.py::test_fault_37_a_window_of_a_billion_is_clamped",
    ),
    # Ends
    Bug(
        "end-told-too-early",
        "a peer is told the end while another could bring something back",
        "_channels/outgoing.py",
        "dealer.unacknowledged == (0 if link.settles else link.unacknowledged)",
        "True",
        "channels/test_outgoing.py::test_the_end_is_told_when_no_other_peer_can_bring_anything_back",
    ),
    Bug(
        "end-told-with-values-in-hand",
        "a program that settles values is told the end while it could reject one",
        "_channels/outgoing.py",
        "(0 if link.settles else link.unacknowledged)",
        "link.unacknowledged",
        "channels/test_deliveries.py::test_the_end_is_told_when_all_is_settled",
    ),
    Bug(
        "count-reached-too-late",
        "a counted import waits for one value more",
        "_protocol/window.py",
        "self.count is not None and self.delivered >= self.count",
        "self.count is not None and self.delivered > self.count",
        "network/test_links.py::test_a_receiving_link_as_the_port_says",
    ),
    Bug(
        "close-without-count",
        "the receiver's last word does not tell how much was delivered",
        "_protocol/session.py",
        "Close(channel.id, delivered, *channel.last_word)",
        "Close(channel.id, 0, *channel.last_word)",
        "protocol/test_session.py::test_a_receivers_close_takes_its_acknowledgement_along",
    ),
    Bug(
        "share-not-orphaned",
        "a stream that has lost a sender ends as if it were complete",
        "_channels/shares.py",
        "self._orphans += self._use(share)",
        "self._use(share)",
        "channels/test_shares.py::test_one_import_of_one",
    ),
    Bug(
        "lost-peer-is-an-end",
        "a sender whose connection is lost counts as finished",
        "_channels/incoming.py",
        "self._shares.orphan(source.share)  # at once",
        "self._shares.release(source.share)  # at once",
        "channels/test_incoming.py::test_what_a_peer_does",
    ),
    Bug(
        "goodbye-before-last-acknowledgements",
        "a goodbye does not wait until what was delivered is confirmed",
        "_protocol/wire.py",
        "self.state is WireState.LEAVING and not (self._carries and self.session.has_unsaid)",
        "self.state is WireState.LEAVING and not (self._carries and self.session.outbox.must_answer)",
        "protocol/test_wire.py::test_a_goodbye_waits_for_what_is_to_be_confirmed",
    ),
    Bug(
        "cancelled-import-left-bound",
        "an import that was cancelled holds its name at the exporter",
        "_importer.py",
        "        except BaseException:\n            peer.withdraw(request)\n            raise",
        "        except Exception:\n            peer.withdraw(request)\n            raise",
        "whole/test_cancelled_import.py::test_import_that_is_cancelled_after_some_turns",
    ),
    Bug(
        "id-used-again",
        "late frames of a channel that was hung up reach the new one of its name",
        "_protocol/session.py",
        "        self._next_id += 1\n        self._channels[channel.id] = channel\n        self.outbox",
        "        self._channels[channel.id] = channel\n"
        "        self._next_id = len(self._channels)\n        self.outbox",
        "whole/test_original_defects.py::test_data_for_a_channel_just_hung_up_harms_no_other",
    ),
    # Drain and sync
    Bug(
        "drain-blind-to-the-hand-over",
        "a drain does not see a value that is between the channel and the pump",
        "_channels/outgoing.py",
        "if self._intake.receiving and self._intake.in_memory:",
        "if False:",
        "channels/test_outgoing.py::test_a_drain_knows_of_a_value_that_was_handed_over_just_now",
    ),
    Bug(
        "sync-silent-about-a-lost-peer",
        "a sync returns as if all had been delivered, though a peer is lost",
        "_channels/waits.py",
        "sync.lost = sync.lost or bool(covered)",
        "pass",
        "channels/test_outgoing.py::test_a_sync_of_a_lost_peer_fails_and_one_after_hanging_up_tells_what_was_dropped",
    ),
    Bug(
        "drops-not-told",
        "no drain tells that a peer has dropped values",
        "_channels/waits.py",
        "            self.unreported_drops += count",
        "            pass",
        "channels/test_waits.py::test_dropped_values_are_told_once",
    ),
    # A connection that breaks
    Bug(
        "no-dedupe",
        "values that come a second time are taken a second time",
        "_protocol/window.py",
        "if first != self.received:\n            raise",
        "if first > self.received:\n            raise",
        "protocol/test_session.py::test_faults_52_53_and_55_a_gap_a_repeat_and_a_number_near_2_63",
    ),
    Bug(
        "rewind-too-far",
        "after a break the last batch that had come is sent again",
        "_protocol/window.py",
        "[batch for batch in self._kept if batch.first >= received]",
        "[batch for batch in self._kept if batch.first + batch.count >= received]",
        "protocol/test_rewind.py::test_windows_that_go_back_against_plain_lists",
    ),
    Bug(
        "rewind-too-short",
        "after a break the first batch that had not come is left out",
        "_protocol/window.py",
        "[batch for batch in self._kept if batch.first >= received]",
        "[batch for batch in self._kept if batch.first > received]",
        "protocol/test_rewind.py::test_windows_that_go_back_against_plain_lists",
    ),
    Bug(
        "halves-of-two-streams",
        "the half of a value that came before a break is put before the whole one that comes after it",
        "_protocol/window.py",
        "        self.bytes_received -= len(self._partial)\n        self.discard_partial()",
        "        self.bytes_received -= len(self._partial)",
        "protocol/test_rewind.py::test_part_of_a_batch_that_came_is_dropped_and_comes_again",
    ),
    Bug(
        "control-frames-forgotten",
        "what was said just before a break is not said again",
        "_protocol/outbox.py",
        "self._control[:0] = [frame for frame in self._kept if isinstance(frame, bytes)]",
        "pass",
        "protocol/test_rewind.py::test_what_is_said_is_kept_until_it_is_seen_and_said_again_in_its_order",
    ),
    Bug(
        "close-forgotten",
        "the end of a channel that was told just before a break is not told again",
        "_protocol/outbox.py",
        "writing.closed = False",
        "pass",
        "protocol/test_rewind.py::test_a_senders_close_is_kept_in_its_place_and_said_again_behind_its_data",
    ),
    Bug(
        "proof-not-checked",
        "whoever knows the id of a session may resume it",
        "_protocol/resuming.py",
        'if not hmac.compare_digest(candidate.derive(b"importer", self.id, nonces), proof):',
        "if False:",
        "protocol/test_session_key.py::test_fault_67_without_the_secret_there_is_no_proof",
    ),
    Bug(
        "exporter-not-checked",
        "an importer goes on with an exporter that cannot prove that it has the session",
        "_protocol/handshake.py",
        "if not self.key.check_exporter(frame.proof, nonces):",
        "if False:",
        "protocol/test_handshake.py::test_an_exporter_that_cannot_prove_it_is_refused_before_it_is_told_more",
    ),
    Bug(
        "epoch-not-advanced",
        "a proof of an old resume is good for ever",
        "_protocol/resuming.py",
        "_Epoch(self._current.number + 1,",
        "_Epoch(self._current.number,",
        "protocol/test_session_key.py::test_epochs_go_up_together_with_a_new_secret_each",
    ),
    Bug(
        "fence-forgotten",
        "two streams carry one session",
        "_network/connection.py",
        "        self.fenced = True\n        self._wire.abandon()\n        self._scope.cancel()",
        "        pass",
        "whole/test_resume_as_specified.py::test_fault_69_the_later_stream_has_the_session",
    ),
    Bug(
        "late-resume-wins",
        "a resume that was long under way takes the session from a later one",
        "_protocol/resuming.py",
        "if nonces.order < self._order:",
        "if False:",
        "protocol/test_handshake.py::test_fault_69_a_resume_that_was_long_under_way_takes_nothing_from_a_later_one",
    ),
    Bug(
        "lease-not-looked-at",
        "an importer delivers what its exporter has given to another one meanwhile",
        "_channels/incoming.py",
        "return backlog.source is None or backlog.source.link.leased",
        "return True",
        "channels/test_incoming.py::test_nothing_is_delivered_without_a_lease_and_all_once_it_is_renewed",
    ),
    Bug(
        "keepalive-without-doubt",
        "a peer is given up though its bytes wait to be read, after a stall of this process",
        "_protocol/keepalive.py",
        "if doubt.sign != (self._reads_since if doubt.reading else self._last_sign):",
        "if False:",
        "protocol/test_keepalive.py::test_a_verdict_is_put_off_for_the_reader_and_the_writer_to_look",
    ),
    # What is bounded
    Bug(
        "heap-that-leaks",
        "each acknowledgement leaves an entry behind",
        "_channels/fewest_first.py",
        "if len(self._heap) > 2 * len(self._entries):",
        "if False:",
        "channels/test_fewest_first.py::test_many_acknowledgements_leave_no_entries_behind",
    ),
    Bug(
        "lost-peers-fill-the-memory",
        "what lost importers have sent is kept without a bound",
        "_channels/incoming.py",
        "return self._lost_bytes <= self._max_lost_bytes",
        "return True",
        "channels/test_incoming.py::test_ever_new_peers_that_are_lost_cannot_fill_the_memory",
    ),
    Bug(
        "admission-leaks",
        "a connection that has ended is counted for ever",
        "_network/admission.py",
        "        finally:\n            self._forget(guest)",
        "        finally:\n            pass",
        "network/test_admission.py::test_who_is_refused_leaves_no_trace",
    ),
    Bug(
        "log-without-bound",
        "each bad connection has its line in the log",
        "_log.py",
        "        self._allowed.spend(1, now)\n        self._logger.log",
        "        self._logger.log",
        "network/test_bounded_log.py::test_a_second_has_so_many_lines",
    ),
    Bug(
        "stopped-and-dealing",
        "an exporter that stops goes on to deal what comes back",
        "_channels/dealing.py",
        "while waiting and not self.stopped:",
        "while waiting:",
        "channels/test_dealing.py::test_nothing_is_dealt_once_it_is_stopped",
    ),
]

BUGS = tuple(_LISTED)
SAMPLE = frozenset(
    {
        "early-acknowledgement",
        "end-told-too-early",
        "lost-requeue",
        "proof-not-checked",
        "rewind-too-short",
        "share-not-orphaned",
    }
)
"""What the test run plants, one of each kind and all quick."""
