//! How adding and removing behaves, against a QEMU and a guest that do what the case wants.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

#[path = "hotplug_scripted/adding.rs"]
mod adding;
#[path = "hotplug_scripted/adopted.rs"]
mod adopted;
#[path = "hotplug_scripted/applying.rs"]
mod applying;
#[path = "hotplug_scripted/async_add.rs"]
mod async_add;
#[path = "hotplug_scripted/by_path.rs"]
mod by_path;
#[path = "hotplug_scripted/capabilities.rs"]
mod capabilities;
#[path = "hotplug_scripted/cd.rs"]
mod cd;
#[path = "hotplug_scripted/changing.rs"]
mod changing;
#[path = "hotplug_scripted/concurrency.rs"]
mod concurrency;
#[path = "hotplug_scripted/disk_limits.rs"]
mod disk_limits;
#[path = "hotplug_scripted/foreign.rs"]
mod foreign;
#[path = "hotplug_scripted/full.rs"]
mod full;
#[path = "hotplug_scripted/identity.rs"]
mod identity;
#[path = "hotplug_scripted/images.rs"]
mod images;
#[path = "hotplug_scripted/iothreads.rs"]
mod iothreads;
#[path = "hotplug_scripted/journal_replay.rs"]
mod journal_replay;
#[path = "hotplug_scripted/late_unplug.rs"]
mod late_unplug;
#[path = "hotplug_scripted/limits.rs"]
mod limits;
#[path = "hotplug_scripted/looking.rs"]
mod looking;
#[path = "hotplug_scripted/many.rs"]
mod many;
#[path = "hotplug_scripted/migrating.rs"]
mod migrating;
#[path = "hotplug_scripted/netdevs.rs"]
mod netdevs;
#[path = "hotplug_scripted/passthrough_and_events.rs"]
mod passthrough_and_events;
#[path = "hotplug_scripted/ports.rs"]
mod ports;
#[path = "hotplug_scripted/properties.rs"]
mod properties;
#[path = "hotplug_scripted/removing.rs"]
mod removing;
#[path = "hotplug_scripted/scsi.rs"]
mod scsi;
#[path = "hotplug_scripted/secrets.rs"]
mod secrets;
#[path = "hotplug_scripted/silent_monitor.rs"]
mod silent_monitor;
#[path = "hotplug_scripted/slots.rs"]
mod slots;
#[path = "hotplug_scripted/sources.rs"]
mod sources;
mod support;
#[path = "hotplug_scripted/takeover.rs"]
mod takeover;
#[path = "hotplug_scripted/taps.rs"]
mod taps;

use adding::*;
use adopted::*;
use applying::*;
use async_add::*;
use by_path::*;
use capabilities::*;
use cd::*;
use changing::*;
use concurrency::*;
use disk_limits::*;
use foreign::*;
use full::*;
use identity::*;
use images::*;
use iothreads::*;
use journal_replay::*;
use late_unplug::*;
use limits::*;
use looking::*;
use many::*;
use migrating::*;
use netdevs::*;
use passthrough_and_events::*;
use ports::*;
use properties::*;
use removing::*;
use scsi::*;
use secrets::*;
use silent_monitor::*;
use slots::*;
use sources::*;
use takeover::*;
use taps::*;

through_every_api! {
    clock: of_its_own;
    // adding
    an_operation_sends_what_it_needs_and_nothing_else,
    the_same_nic_again_is_a_success_without_a_command,
    the_same_nic_with_another_setting_is_a_conflict,
    the_same_disk_again,
    duplicates_within_a_guest_are_refused,
    taps_of_the_caller_stay_the_callers,
    an_old_qemu_gets_it_after_a_reboot,
    other_models_come_after_a_reboot,
    a_model_that_qemu_does_not_know_is_refused,
    a_device_without_an_address_leaves_after_a_reboot,
    a_place_is_learnt_from_the_device_itself,
    what_waits_without_a_reason_says_so,
    an_attachment_has_a_generation,
    a_locked_image_is_told_apart,
    // applying
    a_list_is_made_so_and_the_second_time_nothing_is_done,
    adds_go_first_and_one_entry_has_all_of_it,
    what_needs_room_comes_last,
    without_a_free_slot_removals_come_first,
    an_add_that_fails_leaves_everything_as_it_was,
    an_add_that_fails_leaves_a_pending_removal_pending,
    a_change_that_fails_leaves_everything_as_it_was,
    a_pending_removal_is_joined_and_not_asked_for_twice,
    an_add_waits_for_a_pending_removal,
    what_cannot_be_changed_is_refused_by_name_or_replaced,
    a_plan_says_it_all_and_does_nothing,
    others_stay_if_they_are_to,
    links_and_bridges_are_changed_in_place,
    what_waits_for_a_boot_says_so,
    what_is_foreign_is_left_alone,
    a_refusal_of_the_guest_leaves_the_rest_done,
    a_call_that_is_cancelled_says_what_is_done,
    an_agent_that_dies_between_adds_and_removals,
    wrong_lists_do_nothing,
    devices_as_json,
    // arriving
    an_add_that_is_not_waited_for_ends_with_an_event,
    a_call_that_needs_the_guest_waits_for_the_add,
    an_inventory_leaves_an_add_to_the_operation_that_is_at_it,
    an_add_that_qemu_refuses_is_taken_back_and_told,
    an_add_without_an_answer_fails_at_its_deadline,
    a_connection_lost_during_an_add_is_asked_about,
    a_closed_handle_leaves_the_add_to_the_next_one,
    many_that_are_not_waited_for,
    // placing
    pinned_addresses,
    slots_by_the_rules_of_the_record,
    pinned_addresses_on_q35,
    an_exhausted_guest_is_told_with_numbers,
    a_slot_taken_behind_our_back_is_passed_over,
    a_pinned_slot_taken_behind_our_back_is_an_error,
    a_bus_that_takes_nothing_is_known_beforehand,
    what_the_guest_does_not_have_is_not_called_live,
    a_port_without_hotplug_is_learnt_once,
    before_the_firmware_ran_ports_are_not_believed_empty,
    while_the_firmware_numbers_the_buses_devices_are_where_they_are,
    a_shared_slot_is_not_unplugged,
    the_record_keeps_its_slots_even_if_the_guest_does_not_show_them,
    a_recorded_device_that_the_guest_lacks_is_not_there_already,
    // full
    a_device_that_finds_no_slot_waits_for_the_bridge_of_the_next_boot,
    a_bridge_has_only_so_many_slots,
    a_device_that_finds_no_port_waits_for_one,
    a_recorded_bridge_that_the_guest_lacks_is_told,
    of_a_list_those_wait_that_find_no_slot,
    // by_path
    a_device_without_an_id_leaves_by_its_path,
    a_path_holds_up_no_other_removal,
    a_guest_may_refuse_or_keep_a_device_without_an_id,
    a_guest_that_cannot_answer_keeps_a_device_without_an_id,
    a_lost_answer_about_a_path_is_told,
    // limits
    a_nic_has_its_limits_from_the_start,
    limits_are_changed_while_the_guest_runs,
    limits_that_cannot_be_set_leave_those_that_were,
    interrupted_limits_are_settled,
    a_callers_tap_is_limited_as_long_as_the_nic_is_there,
    a_limit_that_the_kernel_lacks_undoes_the_add,
    a_wanted_list_changes_limits,
    // properties
    what_qemu_knows_is_asked_once,
    what_another_guest_has_said_is_taken,
    what_another_build_has_said_is_refused,
    further_properties_are_set_and_recorded,
    a_property_that_has_changed_is_told,
    properties_that_cannot_be_are_refused_before_anything_is_done,
    a_wanted_list_has_properties,
    // sources
    a_source_is_opened_by_qemu_and_recorded_as_given,
    files_of_a_source_are_opened_here,
    an_image_over_a_network_has_what_is_described_below_it,
    sources_that_cannot_be_are_refused_before_anything_is_done,
    a_wanted_list_has_sources,
    // ports
    a_nic_has_its_port_from_the_start_and_after_a_move,
    an_interrupted_move_sets_the_port,
    a_port_that_cannot_be_is_refused,
    // secrets
    secrets_are_objects_of_their_disk,
    tls_credentials_are_made_after_their_password,
    a_secret_goes_with_a_failed_add,
    the_next_agent_takes_a_secret_back_by_its_name,
    no_disk_has_the_secret_of_another,
    secrets_that_cannot_be_are_refused,
    a_text_has_secrets,
    a_start_needs_the_secrets_again,
    // netdevs
    a_netdev_is_in_the_place_of_a_tap,
    a_vhost_user_comes_and_goes_with_its_chardev,
    a_vhost_user_needs_memory_that_is_shared,
    netdevs_that_cannot_be_are_refused_before_anything_is_done,
    a_wanted_list_has_netdevs,
    a_stream_that_is_not_connected_is_a_difference,
    // removing
    a_removal_is_done_when_the_guest_has_let_go,
    qemu_is_not_the_last_to_close_a_tap_made_here,
    a_tap_that_is_not_the_one_that_was_made_is_left_alone,
    only_the_event_of_the_device_itself_counts,
    a_guest_that_keeps_the_device_leaves_it_pending,
    a_pending_device_keeps_its_slot_and_id,
    reasons_for_pending,
    who_stops_while_waited_for_is_pending_at_once,
    who_stopped_just_before_it_was_asked_is_pending_at_once,
    the_run_state_is_asked_only_when_it_may_have_changed,
    a_refusal_is_an_answer_and_the_device_stays,
    a_late_refusal_comes_as_an_event,
    a_busy_guest_is_asked_again,
    a_guest_that_stays_busy_is_an_error,
    a_request_of_somebody_else_is_waited_for,
    what_is_not_there_is_absent,
    what_was_there_at_first_is_absent_once_it_is_gone,
    what_is_not_ours_is_left_alone,
    a_kind_can_be_demanded,
    a_guest_that_did_not_hear_is_asked_again,
    a_repeated_request_is_answered_for_itself,
    // started by another program
    what_another_program_has_started_leaves_with_its_backend,
    a_backend_that_is_gone_is_no_error,
    a_drive_is_waited_for,
    who_uses_a_node_of_it_keeps_it_pending,
    what_is_still_of_itself_is_waited_for,
    another_agent_takes_the_same_backend_down,
    another_device_with_its_id_keeps_what_it_has,
    what_another_program_has_started_is_verified,
    its_nodes_are_no_orphans,
    what_another_program_has_started_is_changed,
    io_errors_are_told_of_its_disks,
    its_names_are_taken,
    an_image_over_its_node_is_noticed,
    // looking
    a_look_changes_nothing,
    a_look_shows_what_is_unfinished,
    a_look_records_no_place,
    // many
    many_are_one_operation,
    many_leave_together,
    each_that_leaves_has_its_own_answer,
    one_that_fails_takes_all_back,
    what_cannot_be_taken_back_is_named,
    half_of_many_is_none,
    many_do_not_get_in_each_others_way,
    a_slot_taken_behind_our_back_moves_all,
    many_for_an_old_qemu_wait_for_the_reboot,
    // departing
    a_late_departure_is_finished_by_process,
    an_image_that_is_exported_keeps_its_disk_pending,
    one_that_left_before_the_greeting_leaves_nothing,
    a_connection_that_is_lost_at_once_is_made_again,
    without_waiting_the_event_tells,
    a_guest_may_let_go_unasked,
    an_agent_that_comes_back_finishes_removals,
    a_pending_removal_survives_a_lost_monitor,
    a_device_that_went_while_the_monitor_was_lost,
    cancel_ends_the_wait_and_says_what_is_pending,
    a_look_that_is_broken_off_gives_no_slot_away,
    cancel_of_an_add_says_what_became_of_it,
    a_flood_of_events_hides_nothing,
    events_are_bounded,
    a_late_word_is_not_believed_by_later_agents,
    a_reset_completes_removals,
    // foreign
    an_unrecorded_nic_is_recorded_when_that_is_asked_for,
    an_unrecorded_nic_that_is_another_one_is_left_alone,
    a_list_with_an_unrecorded_nic_is_all_or_nothing,
    // identity
    a_late_word_does_not_end_the_removal_of_the_present_one,
    a_device_of_the_next_boot_does_not_go_with_its_namesake,
    several_late_words_end_nothing_while_a_call_waits,
    a_refusal_of_what_is_gone_is_no_refusal,
    device_del_that_does_not_find_it_is_no_proof,
    a_removal_struck_from_the_record_goes_on,
    an_interrupted_add_does_not_adopt_another_device,
    an_add_that_is_undone_leaves_another_device_alone,
    a_removal_does_not_take_another_device,
    a_removal_does_not_take_another_device_that_came_unheard,
    a_device_of_somebody_elses_that_has_left_is_absent,
    what_is_said_before_a_request_counts,
    what_qemu_does_not_say_of_a_place_takes_nothing_down,
    the_number_of_an_attachment_is_kept_until_it_is_written_down,
    a_device_that_goes_while_its_add_is_completed,
    what_a_call_answers_is_no_event,
    an_old_record_with_tombstones_loads,
    // succeeding
    a_journal_names_its_qemu,
    a_removal_is_not_carried_out_on_another_qemu,
    an_add_is_not_completed_in_another_qemu,
    a_change_is_not_taken_back_in_another_qemu,
    a_target_goes_on_with_what_was_pending,
    a_journal_without_a_qemu_goes_by_identity,
    a_qemu_that_is_replaced_while_a_handle_is_open,
    another_monitor_is_waited_for,
    another_monitor_that_stays_busy_is_named,
    what_is_open_keeps_the_guest_from_a_start,
    a_guest_that_has_ended_is_settled_by_its_record,
    // reappearing
    an_add_that_was_completed,
    a_removal_that_was_finished,
    what_was_done_to_an_earlier_attachment,
    no_two_attachments_have_a_number_in_common,
    // scsi
    a_scsi_disk_brings_its_controller,
    a_scsi_disk_again_is_a_success,
    a_controller_can_be_added_by_itself,
    a_controller_of_the_machine_is_used,
    scsi_places_can_be_pinned,
    a_target_taken_behind_our_back_is_passed_over,
    a_slot_for_the_controller_taken_behind_our_back,
    a_full_guest_has_no_room_for_a_controller,
    a_full_scsi_bus_is_told_with_numbers,
    addresses_of_the_wrong_kind_are_refused,
    a_scsi_disk_leaves_whatever_the_guest_is_doing,
    a_controller_does_not_come_for_nothing,
    a_dead_agents_controller_goes_with_its_disk,
    a_controller_left_without_the_disk_it_came_for_goes,
    with_its_controller_a_disk_goes_unasked,
    what_cannot_be_plugged_in_on_scsi_waits_for_a_reboot,
    a_disk_that_waits_with_its_controller_is_listed,
    scsi_places_are_in_the_file,
    // changing
    a_link_goes_down_and_up,
    a_nic_can_come_with_its_cable_pulled,
    a_refused_link_takes_the_nic_back,
    recorded_links_are_set_down_in_a_new_qemu,
    what_cannot_be_changed_is_told_apart,
    changes_wait_with_their_device_for_the_reboot,
    a_nic_moves_to_another_bridge,
    a_nic_that_moves_takes_its_bridges_mtu,
    a_move_that_fails_leaves_the_nic_where_it_was,
    a_move_that_fails_half_way_is_taken_back,
    an_interrupted_move_is_settled,
    a_move_that_cannot_be_settled_is_told,
    a_disk_grows,
    a_disk_shrinks_only_when_asked_to,
    a_resize_half_done_is_told,
    everything_known_is_described,
    // taps
    a_callers_tap_serves_one_nic_after_another,
    queues_are_attached_for_every_try,
    a_tap_that_the_guest_has_is_refused,
    a_tap_is_given_once_in_a_list,
    a_tap_that_was_made_here_is_refused,
    the_same_nic_over_another_tap_is_a_conflict,
    a_name_is_for_one_tap,
    a_callers_tap_does_not_wait_for_a_reboot,
    the_owner_of_a_tap_is_recorded,
    verifying_sees_taps_vhost_and_stray_netdevs,
    a_bridge_may_be_named_by_another_name,
    // images
    a_new_disk_opens_nothing_that_only_its_image_names,
    a_header_rewritten_later_opens_nothing,
    another_chain_is_accepted_when_it_is_said,
    what_a_record_says_of_all_disks,
    a_raw_disk_stays_raw,
    settling_opens_nothing_new,
    // iothreads
    a_disk_has_an_iothread_of_its_own,
    an_iothread_of_several_goes_with_the_last,
    an_iothread_of_a_list_that_fails_goes,
    an_iothread_of_qemus_own_has_to_be_there,
    queues_are_divided_among_iothreads,
    an_old_qemu_divides_no_queues,
    an_iothread_in_texts_records_and_boots,
    an_old_qemu_resizes_no_disk_with_an_iothread,
    // limits
    a_disk_has_limits_from_the_start,
    limits_are_set_while_the_guest_has_the_disk,
    a_group_is_limited_together,
    limits_that_were_not_recorded_are_set_back,
    limits_in_texts_records_and_boots,
    // talking
    a_command_of_the_callers_own,
    a_descriptor_goes_with_it,
    what_would_fool_the_record_is_refused,
    what_is_forced_makes_the_picture_stale,
    a_lost_answer_is_said_to_be_unknown,
    raw_events_come_when_they_are_wanted,
    events_beside_a_command_are_kept,
    disks_that_fail_are_told,
    the_guests_life_is_told,
    a_monitor_that_comes_back_is_told,
    a_guests_own_doings_hide_nothing,
    // concurrency
    a_removal_that_waits_holds_up_nobody,
    two_removals_of_one_device_are_one,
    a_refusal_answers_all_that_wait,
    what_is_being_removed_is_not_added,
    news_reach_an_event_loop_while_a_call_waits,
    a_busy_guest_is_asked_again_for_the_same_device,
    cancel_ends_all_calls_and_each_says_what_became_of_its_device,
    several_adds_are_under_way_at_once,
    what_is_being_added_is_not_given_to_another_one,
    a_look_at_the_guest_leaves_adds_under_way_alone,
    a_list_that_waits_for_an_add_keeps_nobodys_place,
    a_closed_handle_leaves_all_its_adds_to_the_next_one,
    calls_that_wait_outlive_a_lost_monitor,
    calls_that_wait_are_told_when_the_monitor_does_not_come_back,
    adds_under_way_outlive_a_lost_monitor,
    // a silent monitor
    who_connects_to_a_silent_monitor_holds_up_nobody,
    who_waits_for_a_silent_monitor_goes_on_after_the_first_has_given_up,
    a_removal_that_waits_is_answered_while_another_call_connects,
    // CD drives
    a_medium_is_exchanged_taken_out_and_put_in,
    a_drive_can_come_empty,
    a_change_that_fails_puts_the_old_medium_back,
    an_interrupted_change_is_taken_back,
    what_is_left_of_the_old_medium_goes_with_the_next_call,
    a_tray_that_is_locked_meanwhile_is_waited_for,
    a_locked_tray_is_waited_for,
    a_locked_tray_is_opened_by_force,
    a_guest_that_ejects_is_told_and_recorded,
    what_is_no_change_of_medium_is_refused,
    a_drive_of_the_next_boot_gets_its_medium_there,
    an_nvme_disk_has_a_serial,
    // migrating
    a_guest_between_two_hosts_is_left_alone,
    qemu_refuses_while_it_migrates,
    what_is_pending_stays_so_across_a_migration,
    a_target_is_not_asked_for_what_was_pending_at_its_source,
}
