//! What every store promises, as tests that run over each of them.
//!
//! The promises are those in the documentation of `store::Store` and `store::Shared`. A store takes
//! part by a [`Backend`], and a line at the end of this file; each promise is then a test of its own
//! over that store. Where stores differ, the difference is a property of the backend.

mod changing;
mod claims;
mod creation;
mod durable;
mod embedded;
mod events;
mod events_bounded;
mod identity;
mod ledger;
mod lifecycles;
mod listing_model;
mod lists;
mod memory;
mod model;
mod notices;
mod odd;
mod parts;
mod postgres;
mod races;
mod redis;
mod retention;
mod rows;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use progressd::store::Store;

/// Bounds on the events that a job keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventBounds {
    /// How many.
    pub(crate) count: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
}

/// Those of the default configuration.
const DEFAULT_BOUNDS: EventBounds = EventBounds {
    count: 1_000,
    bytes: 1 << 20,
};

/// A store under test, empty at first, with whatever must live as long as it.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// The store.
    fn store(&self) -> &Arc<dyn Store>;

    /// Whether the store goes by the time that callers pass in alone: a test may then let days pass. The others look
    /// at a clock of their own for reserved keys, report ids and values.
    fn goes_by_callers_clock(&self) -> bool;

    /// The same data opened by another node. `None` when a store serves one node alone.
    async fn another_node(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Whether an unfinished job has a new seq and a new lease after [`Backend::reopened`].
    fn renews_at_a_restart(&self) -> bool {
        false
    }

    /// Closes the store and opens it again, as a restart does. `None` when nothing survives that, or
    /// when nothing lies in the process in the first place.
    async fn reopened(self: Box<Self>) -> Option<Box<dyn Backend>> {
        None
    }
}

/// One test for each function of a module, which takes `&dyn Backend`.
macro_rules! tests_over {
    ($fresh:path, $bounds:expr, $module:ident: $($test:ident)*) => {
        mod $module {
            use super::super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let backend = $fresh($bounds).await;
                    super::super::$module::$test(&*backend).await;
                }
            )*
        }
    };
}

/// The promises of `store::Store`, over a store that `$fresh` makes: an async function of
/// [`EventBounds`] that returns a boxed [`Backend`].
macro_rules! store_conforms {
    ($store:ident, $fresh:path) => {
        mod $store {
            tests_over!($fresh, DEFAULT_BOUNDS, creation:
                a_new_job_is_there_as_it_was_made_with_a_seq_of_its_time
                a_name_that_is_taken_is_not_given_again
                a_name_is_free_again_once_its_job_was_removed
                a_name_is_free_again_once_its_jobs_retention_has_ended
                a_name_that_was_given_away_begins_anew
                a_job_comes_with_its_input_and_without
                an_unknown_name_is_unknown
            );
            tests_over!($fresh, DEFAULT_BOUNDS, identity:
                reads_by_an_earlier_origin_find_nothing
                a_commit_on_an_earlier_job_of_the_name_is_missing
                removing_an_earlier_job_of_the_name_removes_nothing
                a_removed_job_takes_nothing_any_more
            );
            tests_over!($fresh, DEFAULT_BOUNDS, changing:
                a_commit_is_seen_by_every_later_read
                seqs_rise_and_are_no_older_than_the_clock
                a_commit_of_no_positions_keeps_the_seq_and_stores_the_job
                many_positions_follow_each_other_closely
                a_commit_on_an_old_seq_is_a_conflict_and_changes_nothing
                a_conflict_brings_the_present_state
                a_seq_far_ahead_of_the_clock_is_risen_from
                every_part_of_a_job_comes_back_as_it_was
                the_nonce_is_that_of_the_newest_commit
                replaceable_commits_are_seen_at_once_too
            );
            tests_over!($fresh, DEFAULT_BOUNDS, ledger:
                a_report_id_is_remembered_with_its_answer
                a_known_report_id_is_a_conflict_that_brings_its_answer
                one_known_report_id_among_many_refuses_the_whole_commit
                the_same_report_id_means_nothing_on_another_job
                a_thousand_report_ids_are_remembered_and_the_oldest_leaves
                a_report_id_is_remembered_for_a_day
                an_answer_without_positions_carries_the_seq_before_it
            );
            tests_over!($fresh, DEFAULT_BOUNDS, events:
                events_come_back_in_order_with_the_seqs_of_their_places
                only_events_above_the_cursor_come_back
                events_of_one_job_are_not_those_of_another
                a_thousand_events_are_kept_and_the_oldest_leave
                a_thousand_events_in_one_commit_are_kept_in_order
                nothing_is_dropped_before_it_must_be
            );
            tests_over!($fresh, SMALL_BOUNDS, events_bounded:
                beyond_the_count_the_oldest_leave_and_it_is_known_up_to_where
                beyond_the_bytes_the_oldest_leave_and_it_is_known_up_to_where
                an_event_larger_than_the_bound_is_dropped_and_known_as_such
                one_commit_with_more_events_than_are_kept_keeps_the_newest
            );
            tests_over!($fresh, DEFAULT_BOUNDS, rows:
                rows_come_back_in_order_page_by_page
                rows_and_state_come_together
                a_job_without_rows_has_none_and_a_removed_one_is_not_there
                a_page_beyond_the_end_is_empty_and_knows_the_total
                rows_of_a_refused_commit_are_not_there
            );
            tests_over!($fresh, DEFAULT_BOUNDS, lists:
                an_empty_store_lists_nothing
                every_filter_shows_its_jobs_alone
                filters_are_and_between_fields_and_or_between_states
                a_list_follows_a_change_of_state
                pages_show_every_job_once_newest_first
                jobs_of_one_moment_are_paged_by_name
                expired_and_removed_jobs_are_not_listed
                unfinished_jobs_come_oldest_first
                unfinished_jobs_are_paged_and_known_by_kind
                counts_follow_every_change_of_state
            );
            tests_over!($fresh, DEFAULT_BOUNDS, listing_model:
                lists_show_what_a_model_shows
            );
            tests_over!($fresh, DEFAULT_BOUNDS, retention:
                a_finished_job_is_there_to_the_end_of_its_retention
                a_removed_name_is_gone_and_then_unknown
                who_owned_a_gone_job_is_remembered
                expiring_removes_what_is_over_and_nothing_else
                expiring_goes_on_from_call_to_call
                names_of_expired_jobs_are_gone_for_as_long_as_asked
            );
            tests_over!($fresh, DEFAULT_BOUNDS, values:
                a_key_is_bound_once
                keys_do_not_meet_job_names_or_values
                a_key_is_bound_for_a_day
                a_value_is_put_once
                a_value_leaves_when_its_time_is_over
                a_value_stays_for_parts_of_a_second_too
                a_value_without_an_end_stays
                one_of_many_who_put_at_once_wins_and_all_see_it
                one_of_many_who_bind_at_once_wins_and_all_see_it
                values_hold_any_bytes
                the_store_answers_a_ping
            );
            tests_over!($fresh, DEFAULT_BOUNDS, odd:
                names_of_every_letter_are_kept_apart
                the_longest_names_and_keys_are_kept
                odd_texts_come_back_letter_by_letter
                odd_json_comes_back_byte_by_byte
                the_largest_data_and_result_come_back
                a_mebibyte_of_events_comes_back
                the_largest_input_comes_back
                ten_thousand_rows_come_back
            );
            tests_over!($fresh, DEFAULT_BOUNDS, races:
                one_of_many_commits_on_a_seq_wins
                many_writers_lose_nothing_and_count_everything_once
                many_report_one_id_and_it_counts_once
                one_of_many_creations_of_a_name_wins
                removals_and_commits_at_once_leave_a_job_or_none
                jobs_do_not_mix_when_many_are_written_at_once
                reads_beside_writes_see_whole_commits
                a_dropped_commit_is_there_whole_or_not_at_all
                dropped_calls_of_every_kind_leave_the_store_in_order
            );
            tests_over!($fresh, DEFAULT_BOUNDS, model:
                any_sequence_of_calls_does_what_a_model_does
            );
        }
    };
}

/// The promises of `store::Shared`, which a store that several nodes use keeps besides.
macro_rules! shared_conforms {
    ($store:ident, $fresh:path) => {
        mod $store {
            tests_over!($fresh, DEFAULT_BOUNDS, notices:
                what_one_node_commits_the_other_reads
                a_node_on_an_old_seq_gets_the_conflict_with_its_answers
                two_nodes_that_write_one_job_lose_nothing
                one_of_two_nodes_that_create_a_name_wins
                a_change_elsewhere_of_a_followed_job_is_noticed
                every_change_of_many_is_noticed_or_told_as_missed
                a_change_with_events_and_answers_is_noticed
                a_removal_elsewhere_of_a_followed_job_is_noticed
                an_end_elsewhere_of_a_followed_job_is_noticed
                a_job_may_be_followed_before_it_is_there
                a_job_followed_twice_is_noticed_until_both_have_ended
                a_job_that_nobody_follows_any_more_is_quiet
                waiting_for_a_notice_may_be_given_up
                seqs_are_those_of_the_jobs_asked_for
                the_clock_is_that_of_both_nodes
            );
            tests_over!($fresh, DEFAULT_BOUNDS, lifecycles:
                a_creation_elsewhere_is_noticed
                every_change_of_state_elsewhere_is_noticed
                a_removal_elsewhere_is_noticed
                a_name_that_is_given_anew_elsewhere_is_noticed
                a_job_that_is_put_back_elsewhere_is_noticed
                the_largest_jobs_are_noticed_too
                what_changes_no_state_is_not_noticed
                the_end_of_retention_is_not_noticed
                what_a_node_does_itself_it_is_not_told
                many_jobs_are_noticed_each
                a_lifecycle_followed_twice_is_noticed_until_both_have_ended
                a_lifecycle_that_nobody_follows_any_more_is_quiet
            );
            tests_over!($fresh, DEFAULT_BOUNDS, claims:
                one_node_at_a_time_has_a_job
                a_claim_is_renewed_by_its_node_alone
                a_claim_that_ran_out_is_taken_with_a_higher_number
                a_claim_that_was_let_go_is_taken_at_once
                letting_go_of_anothers_claim_changes_nothing
                claims_are_of_that_very_job
                one_of_many_nodes_that_claim_at_once_has_the_job
                jobs_are_due_at_their_deadline
                a_finished_or_removed_job_is_not_due
                a_lost_job_is_put_back_as_it_was
                a_job_that_is_there_is_not_put_back
                a_job_that_was_removed_is_not_put_back
                an_older_state_of_a_job_gives_way_to_the_one_that_is_put_back
                events_that_were_lost_with_a_jobs_newest_state_count_as_dropped
                a_later_sign_of_life_stands
                answers_are_found_by_their_report_ids
            );
        }
    };
}

/// What a store that outlives the process keeps besides.
macro_rules! durable_conforms {
    ($store:ident, $fresh:path) => {
        mod $store {
            use super::*;

            durable_tests!($fresh:
                a_restart_keeps_jobs_events_rows_and_inputs
                a_restart_keeps_report_ids_keys_and_values
                a_restart_keeps_removals
                a_restart_keeps_the_order_of_lists_and_counts
                a_restart_takes_no_seq_back
                many_restarts_with_work_in_between_lose_nothing
            );
        }
    };
}

/// One test for each function of `durable`, which takes the backend itself.
macro_rules! durable_tests {
    ($fresh:path: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let backend = $fresh(DEFAULT_BOUNDS).await;
                super::durable::$test(backend).await;
            }
        )*
    };
}

/// So few that a test can fill them.
const SMALL_BOUNDS: EventBounds = EventBounds {
    count: 3,
    bytes: 2_000,
};

// A line for each store.
store_conforms!(memory_store, memory::fresh);
store_conforms!(embedded_store, embedded::fresh);
durable_conforms!(durable_embedded, embedded::fresh);
store_conforms!(postgres_store, postgres::fresh);
shared_conforms!(shared_postgres, postgres::fresh);
durable_conforms!(durable_postgres, postgres::fresh);
store_conforms!(pooled_postgres_store, postgres::fresh_behind_a_pooler);
shared_conforms!(shared_pooled_postgres, postgres::fresh_behind_a_pooler);
store_conforms!(redis_store, redis::fresh);
shared_conforms!(redis_shared, redis::fresh);
store_conforms!(redis_secured, redis::fresh_secured);
shared_conforms!(redis_secured_shared, redis::fresh_secured);
store_conforms!(redis_cluster, redis::fresh_cluster);
shared_conforms!(redis_cluster_shared, redis::fresh_cluster);
