// Package tamiyo follows the policy stream: it verifies updates, swaps the
// policy that runs, keeps it on disk and restores it.
//
// What it promises:
//
//   - Every replica applies every update once, in the order of the stream, also
//     those that were published while it was down. An update is validated before
//     anything changes; if applying it fails, the policy from before is applied
//     again.
//   - A crash at any point leaves the old policy or the new one, whole, and a
//     cursor that belongs to it: no update is skipped, and one that was applied
//     and recorded is not applied again. One that was applied but not yet
//     recorded is applied again by the next process, which began with the old
//     one.
//   - A policy that is damaged on disk is found again on the stream, where it
//     still is there; until then the one before runs.
//   - An older update never replaces a newer one: a recorded policy must not come
//     back. To go back, publish the old payload as a new update.
//   - Updates that are refused are counted and reported by reason, and stop
//     nothing. Updates that were trimmed before they were seen are reported as a
//     gap.
//
// [Open] restores what is in the directory and returns a [Consumer], which is a
// worker for a supervisor. What a policy is, is for the embedder's [Policy] to
// say; [Opaque] takes any bytes.
package tamiyo
