// Package weatherlighttest helps to test what is built on package weatherlight:
// workers that do what the test says, a supervisor that is stopped when the test
// ends, and a record of what has happened. All of it works in a bubble of
// [testing/synctest], where time costs nothing.
package weatherlighttest
