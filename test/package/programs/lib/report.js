/** Prints what `main` returns as one line of JSON, or the error that ended it. */
exports.report = (main) =>
  Promise.resolve()
    .then(main)
    .then(
      (result) => console.log(JSON.stringify(result)),
      (error) => {
        console.log(JSON.stringify({ failed: error.message }))
        process.exitCode = 1
      },
    )

/** What went wrong, as programs see that can only look at the message: which of `texts` it has. */
exports.failure = async (run, ...texts) => {
  try {
    await run()
    return 'no error'
  } catch (error) {
    return { isError: error instanceof Error, found: texts.filter((text) => error.message.includes(text)) }
  }
}
