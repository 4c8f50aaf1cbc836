"""Nothing in `docs/protocol.md` that no vector or test holds: for each rule of the page, what holds it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from vectors import DOCS, VECTORS

TESTS = Path(__file__).parents[1]
PAGE = (DOCS / "protocol.md").read_text("utf-8")

# For each rule: vectors, as group/name, where a name may end in "*"; and tests, as path::name.
SESSION = "protocol/test_session.py::"
HANDSHAKE = "protocol/test_handshake.py::"
REWIND = "protocol/test_rewind.py::"
KEY = "protocol/test_session_key.py::"
MODEL = "protocol/test_resuming_model.py::test_sessions_that_are_cut_against_a_model"
WINDOWS = "test_windows_that_go_back_against_plain_lists"
RESUME_WHOLE = "whole/test_resume_as_specified.py::"
WEBSOCKET = "network/test_websocket.py::"
ACCESS = "identity/test_access.py::"
HARD = "identity/test_hard_moments.py::"
FRAMES = "protocol/test_frames.py::"
VALUES = "codec/test_values.py::"
KEYS = "codec/test_keys.py::"
VALUES_REFUSED = "test_a_value_that_does_not_fit_is_refused_by_name"
DECIMALS = "test_a_program_that_writes_decimals_in_small_letters_sends_them_all_the_same"
DIFFERS = "test_what_differs_passes"
HELD_BY: dict[str, list[str]] = {
    "T-1": ["streams/violation-magic", "streams/violation-http", "streams/violation-tls"],
    "T-2": ["streams/greeting-in-pieces", FRAMES + "test_any_chunking_gives_equal_frames"],
    "T-3": [
        "readable/long-prefix",
        "streams/violation-length-0",
        "streams/violation-length-limit",
        "streams/violation-length-2^32",
        FRAMES + "test_a_bad_length_is_refused_with_its_head_and_before_anything_is_held",
        FRAMES + "test_a_frame_of_exactly_the_limit_is_taken",
    ],
    "T-4": [
        FRAMES + "test_fault_14_a_cut_frame_is_not_seen",
        "whole/test_errors.py::test_lost_connection_is_raised_lone_out_of_the_block",
    ],
    "T-5": [
        "whole/test_as_specified.py::test_who_leaves_ends_its_direction_and_reads_on",
        "whole/test_as_specified.py::test_who_reads_a_goodbye_answers_and_ends",
    ],
    "W-1": [
        WEBSOCKET + "test_requests_that_are_refused",
        WEBSOCKET + "test_server_that_chooses_no_subprotocol_is_told_why",
        WEBSOCKET + "test_another_librarys_client",
    ],
    "W-2": [WEBSOCKET + "test_origins", WEBSOCKET + "test_two_origins_are_none_that_is_allowed"],
    "W-3": [WEBSOCKET + "test_requests_that_are_refused"],
    "W-4": [WEBSOCKET + "test_messages_are_arbitrary_cuts_of_the_stream"],
    "W-5": [WEBSOCKET + "test_frames_that_may_not_come"],
    "W-6": [WEBSOCKET + "test_pings_are_answered"],
    "W-7": [
        WEBSOCKET + "test_goodbye_is_answered_and_then_comes_the_close_frame",
        WEBSOCKET + "test_exporter_waits_for_the_close_frame_of_a_peer_for_a_time",
    ],
    "W-8": [WEBSOCKET + "test_end_without_a_goodbye_is_a_broken_connection_whatever_its_code"],
    "F-1": ["malformed/trailing-bytes", "malformed/count-too-small", "malformed/cut-short"],
    "F-2": ["malformed/indefinite-*", "malformed/trailing-field-indefinite", "streams/violation-length-indefinite"],
    "F-3": ["readable/long-heads", "readable/long-prefix", "imports/long-head"],
    "F-4": ["malformed/*-as-integer", "malformed/bignum", "malformed/kind-bool", "malformed/count-false"],
    "F-5": ["frames/ack-large", "frames/ping-large", "malformed/above-2^62", "malformed/negative-integer"],
    "F-6": ["malformed/invalid-utf8", "malformed/surrogate-utf8"],
    "F-7": [
        "readable/more-fields",
        "readable/trailing-field-*",
        "malformed/nested-trailing-field",
        "malformed/trailing-field-reserved-head",
    ],
    "F-8": ["malformed/too-few-fields"],
    "F-9": ["malformed/kind-16"],
    "F-10": [
        "malformed/empty-name",
        "malformed/long-name",
        "malformed/name-*",
        "frames/name-255",
        "frames/name-space",
        FRAMES + "test_each_field_takes_its_own_kind_and_no_other",
    ],
    "F-11": ["streams/name-*", "imports/name-bidi", "imports/name-unassigned", "frames/name-unassigned"],
    "F-12": [FRAMES + "test_messages_are_made_printable_and_cut"],
    "F-13": ["malformed/unknown-code"],
    "F-14": ["frames/import-*", "readable/import-settles-false", "malformed/settles-*"],
    "H-1": ["streams/greeting", "streams/violation-data-before-hello", "streams/violation-second-hello"],
    "H-2": ["streams/violation-version", SESSION + "test_fault_3_an_unsupported_version_is_named_with_ours"],
    "H-3": ["malformed/parameter*", "malformed/unknown-parameter-twice", "malformed/65-parameters"],
    "H-4": ["readable/unknown-parameters", "readable/64-parameters"],
    "H-5": [
        "streams/violation-frame-parameter",
        "streams/violation-value-parameter",
        "streams/violation-buffer-parameter",
        SESSION + "test_a_hello_without_parameters_means_the_least",
    ],
    "H-6": [
        "streams/ping",
        "streams/unasked-pong",
        SESSION + "test_fault_56_a_flood_of_pings_is_answered_once_per_write",
    ],
    "H-7": [
        "streams/left",
        SESSION + "test_nothing_is_written_behind_a_goodbye",
        SESSION + "test_a_session_that_left_reads_nothing_and_writes_its_queue_first",
    ],
    "H-8": ["streams/goodbye-first", "whole/test_as_specified.py::test_who_reads_a_goodbye_answers_and_ends"],
    "H-9": [
        "streams/violation-malformed-frame",
        "whole/test_as_specified.py::test_who_breaks_the_protocol_hears_so_and_is_read_no_more",
    ],
    "H-10": [
        "whole/test_stopping.py::test_only_who_asks_for_it_is_told_of_a_restart",
        "whole/test_stopping.py::test_what_has_arrived_is_acknowledged_before_the_goodbye_of_a_restart",
    ],
    "H-11": ["whole/test_stopping.py::test_a_restart_that_nobody_asked_for_is_a_plain_goodbye"],
    "I-1": ["frames/hello-token*", "malformed/token-*", "streams/violation-token-empty"],
    "I-2": ["streams/token", "streams/token-of-exporter"],
    "I-3": [ACCESS + "test_a_token_is_not_shown_where_others_may_read_it"],
    "I-4": [
        ACCESS + "test_nothing_is_done_for_an_importer_while_authenticate_is_asked",
        HARD + "test_a_session_is_untouched_while_it_is_asked_who_would_resume_it",
    ],
    "I-5": ["streams/unauthenticated*", HARD + "test_nothing_behind_a_hello_is_looked_at"],
    "I-6": ["resumes/unauthenticated", HARD + "test_a_session_is_untouched_by_who_is_not_accepted"],
    "I-7": ["identity/test_strangers.py::test_more_than_64_kib_without_a_hello"],
    "I-8": [HARD + "test_a_session_goes_on_with_a_new_certificate"],
    "I-9": ["streams/permission-denied", ACCESS + "test_a_forbidden_name_and_an_unknown_one_look_alike"],
    "C-1": ["streams/violation-id-in-use", "streams/violation-id-skipped", "streams/violation-never-opened"],
    "C-2": ["streams/two-channels", "streams/violation-window-0", "streams/violation-accept-window-0"],
    "C-3": ["streams/whole-life-exporter", "streams/whole-life-importer", "streams/violation-beyond-value-limit"],
    "C-4": ["streams/rejected", "streams/reject"],
    "C-5": ["imports/*", "streams/too-many-channels"],
    "C-6": ["accepts/*", "streams/malformed-schema-of-exporter"],
    "C-7": ["streams/withdrawn*"],
    "C-8": ["streams/late-frames", "streams/settling", SESSION + "test_every_frame_in_every_state"],
    "C-9": [
        "streams/count-0-*",
        "streams/count-reached-of-nothing",
        "streams/violation-count-0",
        "whole/test_original.py::test_import_of_no_values_ends_at_once",
    ],
    "D-1": ["streams/fragments", "streams/fragments-anywhere", "streams/sender-splits"],
    "D-2": ["streams/fragment-of-long-head", "streams/violation-head-split"],
    "D-3": ["streams/interleaved-channels", "streams/written-in-turn", "streams/violation-first-within-a-batch"],
    "D-4": ["streams/sender-splits"],
    "D-5": ["streams/violation-gap", "streams/violation-repeat", "streams/violation-first-within-a-batch"],
    "D-6": ["streams/violation-empty-*", "streams/violation-no-batch", "streams/violation-indefinite-batch"],
    "D-7": ["streams/violation-beyond-value-limit", "streams/violation-batch-beyond-value-limit", "streams/count"],
    "D-8": [
        "streams/violation-beyond-byte-limit",
        "streams/violation-large-value-not-alone",
        "streams/violation-fragments-beyond-byte-limit",
        "streams/large-value-alone",
    ],
    "D-9": ["streams/violation-value-too-large", "streams/violation-endless-fragments"],
    "D-10": ["streams/not-an-array-inside", "whole/test_errors.py::test_refused_value_is_logged_and_counted"],
    "A-1": ["streams/acks-repeated"],
    "A-2": ["streams/violation-ack-of-unsent", "streams/violation-final-count-of-unsent"],
    "A-3": ["streams/whole-life-exporter", "streams/whole-life-importer", "streams/count"],
    "A-4": [
        "streams/large-value-alone",
        "protocol/test_window.py::test_a_value_beyond_the_byte_limit_travels_alone",
        "protocol/test_window.py::test_windows_against_plain_lists",
    ],
    "A-5": ["whole/test_as_specified.py::test_all_that_was_delivered_is_acknowledged_soon"],
    "M-1": ["whole/test_manual.py::test_an_exporter_of_an_older_version_is_told_at_once"],
    "M-2": ["streams/violation-settles-and-sends"],
    "M-3": ["frames/settle-*", "malformed/settle-*", "streams/settled-ranges", "streams/settled-range-written"],
    "M-4": ["streams/violation-settle-*", "protocol/test_settling.py::test_a_wrong_settlement_changes_nothing"],
    "M-5": ["whole/test_manual.py::test_a_settlement_is_told_within_a_few_turns"],
    "M-6": ["streams/violation-settled-and-acknowledged", "streams/settled-importer"],
    "M-7": [
        "streams/settled-credit",
        "streams/settled-byte-credit",
        "streams/settled-large-value-alone",
        "streams/violation-settled-large-value-not-alone",
        "protocol/test_settling.py::test_windows_against_a_model",
    ],
    "M-8": ["streams/settled-count*", "streams/settled-then-gone", "streams/violation-settled-last-word-*"],
    "M-9": [
        "streams/settled-behind-close",
        "streams/settled-after-close",
        "whole/test_manual.py::test_the_end_comes_when_everything_is_settled",
    ],
    "M-10": ["streams/redelivered-*", "streams/violation-redelivered-*", "streams/settled-exporter"],
    "X-1": [
        "streams/hang-up-amid-fragments",
        SESSION + "test_data_of_channels_alternates_and_a_close_follows_its_data",
    ],
    "X-2": ["streams/violation-close-too-few", "streams/violation-close-too-many"],
    "X-3": ["streams/settling"],
    "X-4": ["streams/whole-life-importer", "streams/queued-behind-close", "streams/importer-sends"],
    "X-5": ["streams/smaller-last-word"],
    "X-6": ["streams/crossing-closes"],
    "X-7": ["streams/count-0-*", "whole/test_original.py::test_import_of_n_values_receiving__import_n_values"],
    "K-1": [
        "streams/*-ends-with-*",
        "streams/*-has-the-last-word-with-*",
        "streams/limit-by-the-sender",
        "whole/test_close_codes.py::test_exporter_that_sends_closes_with_an_odd_code",
        "whole/test_close_codes.py::test_exporter_that_receives_closes_with_an_odd_code",
        "whole/test_close_codes.py::test_importer_that_sends_closes_with_an_odd_code",
        "whole/test_close_codes.py::test_importer_that_receives_closes_with_an_odd_code",
    ],
    "K-2": ["streams/count-reached-too-early", "streams/count-reached-without-a-count"],
    "K-3": ["streams/withdrawn-with-another-code"],
    "K-4": ["streams/reject-with-an-odd-code", "streams/goodbye-with-an-odd-code", "streams/goodbye-first"],
    "R-1": [RESUME_WHOLE + "test_each_stream_has_another_nonce_and_each_session_another_id_and_secret"],
    "R-2": [RESUME_WHOLE + "test_each_stream_has_another_nonce_and_each_session_another_id_and_secret"],
    "R-3": [
        "resumes/not-resumable-*",
        "resumes/exporter-without-*",
        HANDSHAKE + "test_what_an_exporter_makes_of_a_hello",
        HANDSHAKE + "test_what_an_importer_makes_of_a_hello",
    ],
    "R-4": [
        "resumes/*-that-resumes-nothing",
        "resumes/resumes-where-nothing-is",
        SESSION + "test_every_frame_in_every_state",
    ],
    "R-5": [HANDSHAKE + "test_the_smaller_of_the_two_times_counts"],
    "R-6": [RESUME_WHOLE + "test_who_has_said_goodbye_resumes_nothing"],
    "R-7": [HANDSHAKE + "test_the_parameters_of_the_first_hello_count"],
    "R-8": [RESUME_WHOLE + "test_a_session_does_not_begin_with_an_id_that_is_in_use"],
    "R-9": ["resumes/seen", "resumes/imports-again", REWIND + "test_frames_that_are_ignored_count_too"],
    "R-10": ["resumes/seen", REWIND + "test_control_frames_are_told_as_seen_after_sixteen"],
    "R-11": ["resumes/violation-seen-*", "resumes/seen-by-the-peer"],
    "R-12": [HANDSHAKE + "test_an_importer_that_never_says_what_it_has_seen_is_refused_in_the_end"],
    "R-13": ["resumes/violation-another-session"],
    "R-14": [
        HANDSHAKE + "test_every_frame_in_every_state",
        HANDSHAKE + "test_nothing_of_the_session_is_said_before_it_goes_on",
        "resumes/violation-resume-twice",
        "resumes/violation-position-too-many",
        "resumes/violation-import-before-resume",
        "resumes/violation-data-before-*",
        "resumes/violation-resume-of-what-goes-on",
        "resumes/violation-resume*-by-*",
    ],
    "R-15": [
        "proofs/*",
        KEY + "test_a_proof_byte_by_byte",
        KEY + "test_proofs_are_of_one_session_one_role_and_both_nonces",
    ],
    "R-16": ["resumes/cut-before-resumed", "resumes/last-epoch-is-over", "resumes/ping-confirms-nothing"],
    "R-17": [
        "resumes/cut-before-resumed",
        "resumes/importer-tries-again",
        "resumes/importer-resumes-twice",
        KEY + "test_the_last_epoch_is_over_once_the_importer_proves_with_the_next",
    ],
    "R-18": [
        "resumes/unknown-session",
        "resumes/wrong-proof",
        "resumes/proof-of-the-other-role",
        "resumes/replayed-proof",
        "resumes/epoch-to-come",
        HANDSHAKE + "test_fault_66_and_67_a_refusal_says_goodbye_and_leaves_a_live_session_alone",
        RESUME_WHOLE + "test_whatever_is_wrong_the_refusal_is_the_same_and_a_live_session_goes_on",
        RESUME_WHOLE + "test_fault_73_another_identity_is_refused",
    ],
    "R-19": ["resumes/wrong-proof-of-exporter"],
    "R-20": ["resumes/exporter-resumes-nothing", "resumes/refused"],
    "R-21": [
        HANDSHAKE + "test_a_session_that_was_never_established_is_begun_anew_with_another_exporter",
        HANDSHAKE + "test_a_resume_in_which_the_exporter_has_seen_something_establishes_the_session",
        MODEL,
    ],
    "R-22": [HANDSHAKE + "test_fault_70_a_live_session_is_taken_over_once_the_proof_is_right", MODEL],
    "R-23": [
        HANDSHAKE + "test_fault_69_a_resume_that_was_long_under_way_takes_nothing_from_a_later_one",
        RESUME_WHOLE + "test_fault_69_the_later_stream_has_the_session",
        MODEL + "_by_chance",
    ],
    "R-24": ["resumes/resume-importer", REWIND + "test_each_state_of_a_receiver_is_named_and_no_sender_is"],
    "R-25": ["resumes/violation-positions-out-of-order", "resumes/violation-position-twice"],
    "R-26": ["resumes/named-of-old", "resumes/violation-position-of-nothing"],
    "R-27": [
        "resumes/not-named",
        "resumes/last-word-in-the-pause",
        REWIND + "test_values_of_a_channel_that_is_not_named_are_not_sent",
    ],
    "R-28": [
        "resumes/violation-position-*",
        "resumes/violation-seen-in-*",
        "resumes/violation-close-seen-without-values",
        REWIND + "test_fault_71_what_a_peer_cannot_have_is_refused_and_changes_nothing",
    ],
    "R-29": ["resumes/imports-again", "resumes/exporter-says-accept-again", MODEL],
    "R-30": ["resumes/close-again", "resumes/close-seen"],
    "R-31": ["resumes/part-of-a-batch", REWIND + "test_part_of_a_batch_that_came_is_dropped_and_comes_again"],
    "R-32": ["resumes/exporter-says-again", "resumes/importer-says-again", REWIND + WINDOWS, MODEL],
    "R-33": ["resumes/hung-up-in-the-pause", REWIND + WINDOWS],
    "R-34": ["resumes/acknowledged-again*", REWIND + "test_what_was_granted_is_told_again"],
    "R-35": [
        "resumes/resume-exporter",
        "resumes/last-word-in-the-pause",
        HANDSHAKE + "test_fault_74_a_channel_that_is_hung_up_meanwhile_ends_and_the_others_go_on",
        MODEL,
    ],
    "V-1": ["refused_values/no-array", "refused_values/trailing-bytes", "refused_values/any-behind"],
    "V-2": ["refused_values/*-for-*", "refused_values/float-zero", "refused_values/second-of-two"],
    "V-3": ["refused_values/any-*", "refused_values/content-whatever-the-type"],
    "V-4": [
        "readable_values/*-long-head*",
        "readable_values/long-heads",
        "refused_values/*indefinite-*",
        "refused_values/any-reserved-*",
        "codec/test_reading.py::test_one_item_and_nothing_else",
    ],
    "V-5": [
        "values/text*",
        "refused_values/any-surrogate*",
        "refused_values/any-overlong-utf8",
        VALUES + VALUES_REFUSED,
    ],
    "V-6": ["refused_values/any-undefined", "refused_values/any-simple-*"],
    "V-7": [
        "refused_values/any-self-described",
        "refused_values/any-bigfloat",
        VALUES + "test_no_tag_gives_what_its_type_does_not_say",
    ],
    "V-8": [
        "refused_values/any-*-key",
        "refused_values/key-*-twice",
        "refused_values/key-twice",
        "values/map-text-and-bytes",
    ],
    "V-9": ["values/*", "readable_values/*"],
    "V-10": ["refused_values/named-*", "refused_values/*-mark"],
    "V-11": ["values/int*", "readable_values/*bignum*", "refused_values/int-bignum-*"],
    "V-12": ["readable_values/float-*", "values/float*"],
    "V-13": ["readable_values/nan-bits", VALUES + "test_a_nan_stays_one"],
    "V-14": [
        "values/date*",
        "values/time*",
        "readable_values/*-forms",
        "refused_values/datetime-*",
        "refused_values/date-*",
    ],
    "V-15": ["values/date-extremes", "refused_values/*-year-0", "refused_values/date-1900", "refused_values/bad-date"],
    "V-16": ["refused_values/*-24", "refused_values/*second-60"],
    "V-17": ["values/datetime-extremes", "readable_values/datetime-forms", "refused_values/*offset-*"],
    "V-18": ["values/datetime", "values/time", VALUES + "test_an_aware_datetime_keeps_its_instant_and_its_offset"],
    "V-19": ["values/time-marked", "readable_values/local-datetime-forms", "refused_values/local-mark-*"],
    "V-20": ["values/duration*", "refused_values/duration-*"],
    "V-21": ["values/decimal*", "refused_values/decimal-*", KEYS + DECIMALS],
    "V-22": ["values/decimals-more", "refused_values/decimal-exponent", "refused_values/decimal-3*"],
    "V-23": ["values/*", "refused_values/*", "codec/test_single_values.py::test_both_ways_agree_on_every_value"],
    "V-24": ["refused_values/set-any-map-*", "refused_values/key-any-*", "values/any-keys"],
    "V-25": ["values/literal*", "refused_values/literal*", "readable_values/bignum-literal"],
    "V-26": ["values/list", "values/tuple*", "refused_values/tuple-*", "refused_values/element"],
    "V-27": [
        "readable_values/*map-other*",
        "values/map-*",
        "refused_values/list-as-set",
        "refused_values/set-for-list",
    ],
    "V-28": ["values/record*", "readable_values/record-*", "refused_values/record-*", "refused_values/field-*"],
    "V-29": ["values/union", "refused_values/union-none"],
    "V-30": [
        VALUES + "test_a_type_that_cannot_be_carried_is_refused_at_once",
        VALUES + "test_a_union_of_recursive_records_is_decided_at_a_glance",
    ],
    "V-31": [
        "refused_values/set-nan*",
        "refused_values/key-nan",
        "refused_values/typed-*nan",
        KEYS + "test_a_nan_in_a_key_or_an_element_does_not_leave",
        KEYS + "test_what_is_equal_as_data_does_not_leave",
        KEYS + "test_what_is_equal_as_data_is_refused_whatever_the_class_says",
    ],
    "V-32": ["refused_values/set-1-*", "refused_values/set-zeros", "refused_values/set-infinities", KEYS + DIFFERS],
    "V-33": ["values/map-text-and-bytes", "refused_values/set-texts", KEYS + DIFFERS],
    "V-34": ["refused_values/set-instants", "refused_values/set-marks", "refused_values/set-times", KEYS + DIFFERS],
    "V-35": [
        "refused_values/set-arrays",
        "refused_values/set-sets",
        KEYS + "test_a_set_of_pairs_is_no_map",
        KEYS + "test_what_is_equal_as_data_does_not_leave",
    ],
    "V-36": ["values/depth-*", "refused_values/depth-*", VALUES + "test_depth_is_bounded_the_same_both_ways"],
    "S-1": [
        "malformed_schemas/nothing",
        "malformed_schemas/513-nodes",
        "readable_schemas/512-nodes",
        "whole/test_as_specified.py::test_a_schema_that_is_too_long_costs_a_refusal",
    ],
    "S-2": ["readable_schemas/*bignum*", "readable_schemas/long-heads", "malformed_schemas/literal-uuid"],
    "S-3": ["malformed_schemas/*", "readable_schemas/*"],
    "S-4": ["values/any", "streams/any-as-schema", "imports/any"],
    "S-5": [
        "imports/*malformed-schema*",
        "imports/*no-schema*",
        "accepts/malformed-schema*",
        "streams/malformed-schema",
    ],
    "S-6": ["schema_pairs/from-any", "schema_pairs/any-*"],
    "S-7": ["schema_pairs/*-to-any"],
    "S-8": ["schema_pairs/from-optional", "schema_pairs/union-with-any"],
    "S-9": ["schema_pairs/*literal*"],
    "S-10": ["schema_pairs/to-optional", "schema_pairs/tuple-of-union", "schema_pairs/to-union-with-any"],
    "S-11": ["schema_pairs/*", "codec/test_compare.py::test_what_fits_is_never_refused"],
    "S-12": ["schema_pairs/recursive*"],
    "S-13": ["schema_pairs/depth-100", "codec/test_compare.py::test_a_comparison_has_a_limit_of_steps_and_of_depth"],
    "N-1": ["refused_values/float-zero", "refused_values/int-for-float", "values/float"],
    "N-2": ["values/int*"],
    "N-3": ["frames/ping-large", "frames/ack-large"],
    "N-4": ["refused_values/any-surrogate*", VALUES + VALUES_REFUSED],
    "N-5": ["values/map-names", "values/record-names"],
    "N-6": ["values/map-text-and-bytes", "values/map-bytes"],
}


def rules() -> list[str]:
    """The rules of the page, in its order."""
    return re.findall(r"\[([A-Z]-\d+)\]", PAGE)


def defined(test: str) -> bool:
    path, _, name = test.partition("::")
    tree = ast.parse((TESTS / path).read_text("utf-8"))
    return any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name for n in tree.body)


def test_every_rule_is_there_once_and_numbered_without_gaps() -> None:
    found = rules()
    assert len(found) == len(set(found))
    for letter in {rule[0] for rule in found}:
        numbers = [int(rule[2:]) for rule in found if rule[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1)), letter


def test_every_rule_is_held_by_something() -> None:
    assert HELD_BY.keys() == set(rules())


@pytest.mark.parametrize("rule", HELD_BY)
def test_what_holds_a_rule_exists(rule: str) -> None:
    assert HELD_BY[rule]
    for held_by in HELD_BY[rule]:
        if "::" in held_by:
            assert defined(held_by), held_by
        else:
            group, _, name = held_by.partition("/")
            pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
            assert any(pattern.fullmatch(vector["name"]) for vector in VECTORS[group]), held_by


def test_whatever_must_be_is_a_rule() -> None:
    """Each paragraph, item or row of a table that says MUST has a rule in it."""
    for block in re.split(r"\n\n|\n(?=- |\d\. |\| )", PAGE.split("## Transport and framing")[1]):
        if "MUST" in block:
            assert re.search(r"\[[A-Z]-\d+\]", block), block
