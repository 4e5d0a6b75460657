// Package urzatest tests implementations of [urza.Catalogue].
package urzatest
