// 1. Submit job
const submitResponse = await fetch('/api/llm/jobs/submit/', {
    method: 'POST',
    headers: {
        'Content-Type': 'application/json',
        'X-CSRFToken': getCsrfToken()
    },
    body: JSON.stringify({
        job_type: 'trainer_question_analysis',
        model_id: 'model-uuid',
        input_data: {
            system_message: 'You are a helpful assistant.',
            full_input: 'Analyze this problem...'
        },
        question_id: 'question-123'
    })
});

const submitData = await submitResponse.json();
const jobId = submitData.job_id;

// 2. Later, get the result (only works if job is completed)
const resultResponse = await fetch(`/api/llm/jobs/${jobId}/result/`);
const resultData = await resultResponse.json();

if (resultData.success) {
    console.log('Final result:', resultData.result_data);
}
