package upload

const childVariable = "MPIPE_UPLOAD_TEST_CHILD"

func runChild(string) int { return 0 }
